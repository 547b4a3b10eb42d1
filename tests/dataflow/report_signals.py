"""Signals of invented documents, by short plain code: near enough for a page to show."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from quality.signals import schema

_WORD = re.compile(r"[\w’']+")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _repeats(items: list[str]) -> tuple[int, int]:
    """How many items were seen before, and their characters."""
    seen: set[str] = set()
    count = chars = 0
    for item in items:
        if item in seen:
            count, chars = count + 1, chars + len(item)
        seen.add(item)
    return count, chars


def signals(text: str) -> dict[str, Any]:
    """A value for every column that ``scan`` writes."""
    values: dict[str, Any] = {field.name: 0 for field in schema("scan")}
    words = _WORD.findall(text)
    lines = [line for line in text.split("\n") if line.strip()]
    paragraphs = [part for part in re.split(r"\n{2,}", text) if part]
    chars = len(text)
    values.update(
        {
            "text.bytes": len(text.encode()),
            "text.chars": chars,
            "text.words": len(words),
            "text.lines": len(lines),
            "text.paragraphs": len(paragraphs),
            "text.max_line_chars": max(map(len, lines), default=0),
            "text.control_chars": sum(c < " " and c not in "\t\n\r" for c in text),
            "gopher.words": len(words),
            "gopher.mean_word_chars": _ratio(sum(map(len, words)), len(words)),
            "gopher.hash_ratio": _ratio(text.count("#"), len(words)),
            "gopher.ellipsis_ratio": _ratio(text.count("..."), len(words)),
            "gopher.bullet_line_frac": _ratio(
                sum(line.lstrip().startswith("-") for line in lines), len(lines)
            ),
            "gopher.alpha_word_frac": _ratio(
                sum(any(c.isalpha() for c in w) for w in words), len(words)
            ),
            "gopher.stop_words": len(
                set(words) & {"the", "be", "to", "of", "and", "that", "have", "with"}
            ),
            "gopher.dup_line_frac": _ratio(_repeats(lines)[0], len(lines)),
            "gopher.dup_line_char_frac": _ratio(_repeats(lines)[1], chars),
            "gopher.dup_para_frac": _ratio(_repeats(paragraphs)[0], len(paragraphs)),
            "gopher.dup_para_char_frac": _ratio(_repeats(paragraphs)[1], chars),
            "fineweb.line_punct_ratio": _ratio(
                sum(line.endswith((".", "。", "!", "?")) for line in lines), len(lines)
            ),
            "fineweb.short_line_ratio": _ratio(sum(len(li) <= 30 for li in lines), len(lines)),
            "fineweb.char_dup_ratio": _ratio(_repeats(lines)[1], chars),
            "fineweb.new_line_ratio": _ratio(text.count("\n"), len(words)),
            "fineweb.c4_sentences": text.count("."),
        }
    )
    for n in range(2, 11):
        grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
        if n < 5:
            top, count = Counter(grams).most_common(1)[0] if grams else ("", 0)
            values[f"gopher.top_{n}_gram_char_frac"] = _ratio(len(top) * count, chars)
        else:
            count, size = _repeats(grams)
            values[f"gopher.dup_{n}_gram_char_frac"] = min(1.0, _ratio(size / n, chars))
    return values


def shingles(text: str) -> set[str]:
    """Word 5-grams."""
    words = [word.lower() for word in _WORD.findall(text)]
    return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)}
