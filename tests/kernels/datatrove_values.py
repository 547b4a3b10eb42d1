"""Ask datatrove what it makes of some texts: run by the Python of an environment that has it.

    python datatrove_values.py < texts.json > values.json

Words are those of ``str.split``, for datatrove's own tokenizer too. Sentences are not counted (its
sentence splitter is spaCy's). One value is not datatrove's: n-grams are told apart as lists of
words, where its ``find_all_duplicate`` glues words together and takes ["a", "bc"] for ["ab", "c"].
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

from datatrove.data import Document  # type: ignore[import-not-found]
from datatrove.pipeline.filters import (  # type: ignore[import-not-found]
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
)
from datatrove.pipeline.filters import (
    gopher_repetition_filter as repetition,
)


def split(text: str, _language: str = "") -> list[str]:
    return text.split()


def duplicate_chars(words: list[str], n: int) -> int:
    # A separator that str.split never leaves in a word keeps glued words apart; its length is
    # taken back from what the function counts: each duplicate n-gram holds n of them.
    marked = [word + "\n" for word in words]
    counted = repetition.find_all_duplicate(marked, n)
    # Duplicates are whole n-grams, but of unequal lengths: count them by a second run on words
    # of length one that are equal exactly where the first ones are.
    codes: dict[str, str] = {}
    letters = [codes.setdefault(word, chr(0x10000 + len(codes))) for word in words]
    return int(counted) - int(repetition.find_all_duplicate(letters, n))


def repetition_values(text: str) -> dict[str, int]:
    probe = repetition.GopherRepetitionFilter()
    words = split(text)
    values: dict[str, int] = {}
    paragraphs = probe.paragraph_exp.split(text.strip())
    lines = probe._line_splitter.split(text)
    for name, elements in (("para", paragraphs), ("line", lines)):
        count, chars = repetition.find_duplicates(elements)
        values |= {name: len(elements), f"dup_{name}": count, f"dup_{name}_char": chars}
    for n in (2, 3, 4):
        grams = repetition.get_n_grams(words, n)
        values[f"top_{n}_gram"] = repetition.find_top_duplicate(grams) if grams else 0
    for n in (5, 6, 7, 8, 9, 10):
        values[f"dup_{n}_gram"] = duplicate_chars(words, n)
    return values


def verdict(probe: Any, text: str) -> str:
    """The reason of a drop, "kept", or "error" where datatrove divides by zero."""
    try:
        result = probe.filter(Document(text=text, id="0"))
    except ZeroDivisionError:
        return "error"
    return result[1] if isinstance(result, tuple) else "kept" if result else "dropped"


def c4_values(text: str, terminal: bool) -> dict[str, Any]:
    probe = c4_filters.C4QualityFilter(filter_no_terminal_punct=terminal, min_num_sentences=-1)
    result = verdict(probe, text)
    return {"verdict": result} | {name: int(v.total) for name, v in probe.stats.stats.items()}


def values(text: str) -> dict[str, Any]:
    return {
        "repetition": repetition_values(text),
        "quality": verdict(gopher_quality_filter.GopherQualityFilter(min_doc_words=5), text),
        "fineweb": verdict(fineweb_quality_filter.FineWebQualityFilter(), text),
        "c4": c4_values(text, True),
        "c4_any_end": c4_values(text, False),
        "mc4": verdict(c4_filters.C4ParagraphFilter(), text),
    }


def main() -> None:
    for module in (repetition, gopher_quality_filter, fineweb_quality_filter):
        module.split_into_words = split
    texts = json.load(sys.stdin)
    found = {
        "datatrove": version("datatrove"),
        "documents": [{"text": text} | values(text) for text in texts],
    }
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
