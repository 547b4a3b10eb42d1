"""The signals of one document in plain Python: what the compiled pass must equal, number by number.

It reads like the definitions and is slow. White space, lines and splitting are Python's own; what
a character is comes from the table of :mod:`kernels.text.unicode`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from kernels.text import unicode as u
from kernels.text.c4 import MAX_WORD_CHARS, MIN_LINE_WORDS
from kernels.text.lines import LONG_LINE_CHARS, SHORT_LINE_CHARS
from kernels.text.minhash_reference import mix64
from kernels.text.ngrams import DUPLICATE_GRAMS, TOP_GRAMS
from kernels.text.stop_words import STOP_WORDS
from kernels.text.word_hash import HASH_MULTIPLIER, HASH_SEED

_U64 = (1 << 64) - 1
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_POLICIES = (
    *("terms of use", "privacy policy", "cookie policy"),
    *("uses cookies", "use of cookies", "use cookies"),
)


def property_word(character: str) -> int:
    """Return the property word of one character (its layout: see ``kernels.text.unicode``)."""
    c = ord(character)
    return int(u.PROPERTIES[(int(u.PROPERTY_INDEX[c >> 7]) << 7) + (c & 127)])


def _category(character: str) -> int:
    return property_word(character) >> u.CATEGORY_SHIFT & u.CATEGORY_MASK


def is_letter(character: str) -> bool:
    """Whether the general category is L."""
    return _category(character) in (u.CAT_LETTER, u.CAT_UPPER)


def is_number(character: str) -> bool:
    """Whether the general category is N."""
    return _category(character) in (u.CAT_DIGIT, u.CAT_NUMBER)


def _values(text: str, shift: int, mask: int, names: Sequence[str]) -> list[str]:
    return [names[property_word(c) >> shift & mask] for c in text]


def _word_boundary(text: str, values: list[str], i: int) -> bool:
    """Whether UAX #29 puts a word boundary before character ``i``, rule by rule."""
    absorbed = ("Extend", "Format", "ZWJ")
    newlines = ("CR", "LF", "Newline")
    before, after = values[i - 1], values[i]
    if before == "CR" and after == "LF":  # WB3
        return False
    if before in newlines or after in newlines:  # WB3a, WB3b
        return True
    if before == "ZWJ" and property_word(text[i]) & u.PICTOGRAPH:  # WB3c
        return False
    if before == after == "WSegSpace":  # WB3d
        return False
    if after in absorbed:  # WB4
        return False

    # The rules below do not see what WB4 absorbs. Nothing is absorbed by a newline or the start.
    left = [
        value
        for k, value in enumerate(values[:i])
        if value not in absorbed or k == 0 or values[k - 1] in newlines
    ]
    left = ["Any" if value in absorbed else value for value in left]
    right = [value for value in values[i:] if value not in absorbed]
    a, b = left[-1], right[0]
    a2 = left[-2] if len(left) > 1 else ""
    b2 = right[1] if len(right) > 1 else ""
    letters = ("ALetter", "Hebrew_Letter")
    quotes = ("MidNumLet", "Single_Quote")
    mid_letters, mid_numbers = ("MidLetter", *quotes), ("MidNum", *quotes)
    words = (*letters, "Numeric", "Katakana")
    regional = 0
    while regional < len(left) and left[-1 - regional] == "Regional_Indicator":
        regional += 1
    joined = (
        (a in letters and b in letters),  # WB5
        (a in letters and b in mid_letters and b2 in letters),  # WB6
        (a2 in letters and a in mid_letters and b in letters),  # WB7
        (a == "Hebrew_Letter" and b == "Single_Quote"),  # WB7a
        (a == "Hebrew_Letter" and b == "Double_Quote" and b2 == "Hebrew_Letter"),  # WB7b
        (a2 == "Hebrew_Letter" and a == "Double_Quote" and b == "Hebrew_Letter"),  # WB7c
        (a == b == "Numeric"),  # WB8
        (a in letters and b == "Numeric"),  # WB9
        (a == "Numeric" and b in letters),  # WB10
        (a2 == "Numeric" and a in mid_numbers and b == "Numeric"),  # WB11
        (a == "Numeric" and b in mid_numbers and b2 == "Numeric"),  # WB12
        (a == b == "Katakana"),  # WB13
        (a in (*words, "ExtendNumLet") and b == "ExtendNumLet"),  # WB13a
        (a == "ExtendNumLet" and b in words),  # WB13b
        (b == "Regional_Indicator" and regional % 2 == 1),  # WB15, WB16
    )
    return not any(joined)


def words(text: str, whitespace: bool = False) -> list[str]:
    """Cut ``text`` as :mod:`kernels.text.segment` defines it. Quadratic in the text."""
    if whitespace:
        return text.split()
    values = _values(text, 0, u.WB_MASK, u.WORD_BREAK)
    cuts = [0, *(i for i in range(1, len(text)) if _word_boundary(text, values, i)), len(text)]
    segments = [text[a:b] for a, b in pairwise(cuts)]
    return [segment for segment in segments if segment and not segment[0].isspace()]


def sentences(line: str) -> int:
    """Count the sentences of UAX #29 in a line without line breaks."""
    values = _values(line, u.SB_SHIFT, u.SB_MASK, u.SENTENCE_BREAK)
    code = {"Upper": "U", "Lower": "L", "OLetter": "O", "Numeric": "N", "ATerm": "A"}
    code |= {"STerm": "S", "Close": "C", "Sp": "_", "SContinue": ",", "Other": "x"}
    kept = "".join(code[v] for v in values if v not in ("Extend", "Format"))  # SB5
    if not kept:
        return int(bool(line))
    return 1 + sum(_sentence_boundary(kept[:i], kept[i:]) for i in range(1, len(kept)))


def _sentence_boundary(before: str, after: str) -> bool:
    if before[-1] == "A" and after[0] == "N":  # SB6
        return False
    if re.search("[UL]A$", before) and after[0] == "U":  # SB7
        return False
    if re.search("AC*_*$", before) and re.match("[^OULAS]*L", after):  # SB8
        return False
    if re.search("[AS]C*_*$", before) and after[0] in ",AS":  # SB8a
        return False
    if re.search("[AS]C*$", before) and after[0] in "C_":  # SB9
        return False
    if re.search("[AS]C*_*$", before) and after[0] == "_":  # SB10
        return False
    return bool(re.search("[AS]C*_*$", before))  # SB11, SB998


def word_hash(word: str) -> int:
    """Hash a word as :mod:`kernels.text.word_hash` says."""
    data = word.encode()
    h = HASH_SEED
    for i in range(0, len(data), 8):
        h = (h ^ int.from_bytes(data[i : i + 8], "little")) * HASH_MULTIPLIER & _U64
        h ^= h >> 32
    return mix64(h ^ len(data))


def folded(word: str) -> str:
    """Fold each character by simple case folding."""
    return "".join(
        chr(c + int(u.FOLDINGS[(int(u.FOLDING_INDEX[c >> 7]) << 7) + (c & 127)]))
        for c in map(ord, word)
    )


def content_word_hashes(text: str, whitespace: bool = False) -> list[int]:
    """Hash the words that hold a letter or a number, folded."""
    return [
        word_hash(folded(word))
        for word in words(text, whitespace)
        if any(is_letter(c) or is_number(c) for c in word)
    ]


def _find_duplicates(elements: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    count = chars = 0
    for element in elements:
        if element in seen:
            count += 1
            chars += len(element)
        seen.add(element)
    return count, chars


def _top_gram(tokens: list[str], n: int) -> int:
    grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    if not grams:
        return 0
    gram, count = grams.most_common(1)[0]
    return len(" ".join(gram)) * count


def _duplicate_grams(tokens: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    chars = i = 0
    while i + n <= len(tokens):
        gram = tuple(tokens[i : i + n])
        if gram in seen:
            chars += sum(map(len, gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return chars


def judge_line(line: str) -> tuple[set[str], str]:
    """Return the names of C4's rules that a stripped line breaks, and its text without citations.

    Every rule is looked at, but none after a word that is too long.
    """
    if any(len(word) > MAX_WORD_CHARS for word in line.split()):
        return {"long_word"}, line
    guilt = {"short"} if len(line.split()) < MIN_LINE_WORDS else set()
    line = _CITATION.sub("", line)
    lower = line.lower()
    if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
        guilt.add("unpunctuated")
    if "lorem ipsum" in lower:
        guilt.add("lorem_ipsum")
    if "javascript" in lower:
        guilt.add("javascript")
    if "{" in line:
        guilt.add("curly_bracket")
    if any(policy in lower for policy in _POLICIES):
        guilt.add("policy")
    return guilt, line


def _c4(text: str, terminal_punctuation: bool) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in text.splitlines():
        found["lines"] += 1
        guilt, cleaned = judge_line(line.strip())
        if not terminal_punctuation:
            guilt.discard("unpunctuated")
        removed: str | None = None
        for rule in ("long_word", "unpunctuated", "short"):
            if rule in guilt:
                removed = rule
                break
        else:
            found["lorem_ipsum_lines"] += "lorem_ipsum" in guilt
            if "javascript" in guilt:
                removed = "javascript"
            else:
                found["curly_bracket_lines"] += "curly_bracket" in guilt
                removed = "policy" if "policy" in guilt else None
        if removed:
            found[f"{removed}_lines"] += 1
            continue
        found["kept_lines"] += 1
        found["words"] += len(line.split())
        found["sentences"] += sentences(cleaned.rstrip())
    return found


def c4_removed(text: str, terminal_punctuation: bool = True, min_words: int = 3) -> list[bool]:
    """Tell for each line of ``str.splitlines`` whether C4's line rules remove it."""
    removing = {"long_word", "javascript", "policy"}
    if terminal_punctuation:
        removing.add("unpunctuated")
    return [
        bool(judge_line(line.strip())[0] & removing) or len(line.split()) < min_words
        for line in text.splitlines()
    ]


def _ratio(numerator: int, denominator: int) -> np.float32:
    return np.float32(numerator / denominator if denominator else 0.0)


def signals(text: str, whitespace: bool = False) -> dict[str, int | np.float32]:
    """Compute every signal of one document, under the names of ``quality/signals.py``."""
    tokens = words(text, whitespace)
    plain = [word for word in tokens if any(not property_word(c) & u.SYMBOL for c in word)]
    lines = text.splitlines()
    categories = Counter(_category(c) for c in text)
    chars, line_feeds = len(text), text.count("\n")
    out: dict[str, int | np.float32] = {
        "text.bytes": len(text.encode()),
        "text.chars": chars,
        "text.words": len(tokens),
        "text.lines": len(lines),
        "text.paragraphs": len(re.split(r"\n{2,}", text.strip())) if text.strip() else 0,
        "text.max_line_chars": max(map(len, lines), default=0),
        "text.alpha_frac": _ratio(categories[u.CAT_LETTER] + categories[u.CAT_UPPER], chars),
        "text.upper_frac": _ratio(categories[u.CAT_UPPER], chars),
        "text.digit_frac": _ratio(categories[u.CAT_DIGIT], chars),
        "text.punct_frac": _ratio(categories[u.CAT_PUNCT], chars),
        "text.space_frac": _ratio(sum(c.isspace() for c in text), chars),
        "text.non_ascii_frac": _ratio(sum(not c.isascii() for c in text), chars),
        "text.control_chars": sum(
            _category(c) == u.CAT_CONTROL and c not in "\t\n\r" for c in text
        ),
        "text.replacement_chars": text.count("\ufffd"),
        "gopher.words": len(plain),
        "gopher.mean_word_chars": _ratio(sum(map(len, plain)), len(plain)),
        "gopher.hash_ratio": _ratio(text.count("#"), len(tokens)),
        "gopher.ellipsis_ratio": _ratio(text.count("...") + text.count("…"), len(tokens)),
        "gopher.bullet_line_frac": _ratio(
            sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)
        ),
        "gopher.ellipsis_line_frac": _ratio(
            sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)
        ),
        "gopher.alpha_word_frac": _ratio(
            sum(any(is_letter(c) for c in word) for word in tokens), len(tokens)
        ),
        "gopher.stop_words": len(set(STOP_WORDS) & set(tokens)),
    }
    parts = re.split("\n+", text) if text else []
    paragraphs = re.split(r"\n{2,}", text.strip()) if text.strip() else []
    for name, elements in (("line", parts), ("para", paragraphs)):
        count, duplicate_chars = _find_duplicates(elements)
        out[f"gopher.dup_{name}_frac"] = _ratio(count, len(elements))
        out[f"gopher.dup_{name}_char_frac"] = _ratio(duplicate_chars, chars)
    for n in TOP_GRAMS:
        out[f"gopher.top_{n}_gram_char_frac"] = _ratio(_top_gram(tokens, n), chars)
    for n in DUPLICATE_GRAMS:
        out[f"gopher.dup_{n}_gram_char_frac"] = _ratio(_duplicate_grams(tokens, n), chars)
    c4 = _c4(text, terminal_punctuation=True)
    for name in ("long_word", "unpunctuated", "short", "javascript", "policy", "kept"):
        out[f"c4.{name}_lines"] = c4[f"{name}_lines"]
    for name in ("lines", "lorem_ipsum_lines", "curly_bracket_lines", "words", "sentences"):
        out[f"c4.{name}"] = c4[name]
    out["mc4.long_lines"] = sum(len(line) >= LONG_LINE_CHARS for line in text.split("\n"))
    filled = [line for line in text.split("\n") if line.strip()]
    ended = sum(bool(property_word(line[-1]) & u.TERMINAL) for line in filled)
    short = sum(len(line) <= SHORT_LINE_CHARS for line in filled)
    out["fineweb.line_punct_ratio"] = _ratio(ended, len(filled))
    out["fineweb.short_line_ratio"] = _ratio(short, len(filled))
    out["fineweb.char_dup_ratio"] = _ratio(_find_duplicates(filled)[1], chars - line_feeds)
    out["fineweb.new_line_ratio"] = _ratio(line_feeds, len(tokens))
    any_end = _c4(text, terminal_punctuation=False)
    for name in ("lorem_ipsum_lines", "curly_bracket_lines", "kept_lines", "sentences"):
        out[f"fineweb.c4_{name}"] = any_end[name]
    return out
