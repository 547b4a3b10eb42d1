"""Which part of a text made a signal what it is: the n-gram, lines or characters that it counts.

This is for the eye. It follows the meaning of a signal over the first characters of a text with the
words of a simple pattern; the numbers in the ledger come from ``kernels/text`` alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from dataflow.report.markup import visible

Span = tuple[int, int]
Finder = Callable[[str], list[Span]]

EXCERPT = 520
"""Characters of an excerpt."""

MAX_SPANS = 400

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_LINE = re.compile(r"\S[^\n]*")
_PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*\n?)+")
_TERMINAL = tuple(".?!。？！…\"'”’»)]")


def _matches(pattern: str, flags: int = 0) -> Finder:
    compiled = re.compile(pattern, flags)
    return lambda text: [m.span() for m in compiled.finditer(text)]


def _lines(wanted: Callable[[str], bool]) -> Finder:
    def find(text: str) -> list[Span]:
        return [m.span() for m in _LINE.finditer(text) if wanted(m.group().strip())]

    return find


def _seen_before(unit: re.Pattern[str]) -> Finder:
    def find(text: str) -> list[Span]:
        seen: set[str] = set()
        spans = []
        for match in unit.finditer(text):
            key = match.group().strip()
            if key in seen:
                spans.append(match.span())
            seen.add(key)
        return spans

    return find


def _top_gram(n: int) -> Finder:
    def find(text: str) -> list[Span]:
        grams = _grams(text, n)
        if not grams:
            return []
        counts = Counter(gram for gram, _, _ in grams)
        # The first of the most frequent: insertion order decides between equals.
        top = max(counts, key=lambda gram: counts[gram])
        return [(start, end) for gram, start, end in grams if gram == top]

    return find


def _repeated_grams(n: int) -> Finder:
    def find(text: str) -> list[Span]:
        grams = _grams(text, n)
        seen: set[tuple[str, ...]] = set()
        spans, after = [], 0
        for i, (gram, start, end) in enumerate(grams):
            if gram in seen and i >= after:
                spans.append((start, end))
                after = i + n
            seen.add(gram)
        return spans

    return find


def _grams(text: str, n: int) -> list[tuple[tuple[str, ...], int, int]]:
    words = [(m.group(), m.start(), m.end()) for m in _WORD.finditer(text)]
    return [
        (tuple(w for w, _, _ in words[i : i + n]), words[i][1], words[i + n - 1][2])
        for i in range(len(words) - n + 1)
    ]


def _longest_line(text: str) -> list[Span]:
    longest = max(_LINE.finditer(text), key=lambda m: len(m.group()), default=None)
    return [] if longest is None else [longest.span()]


_POLICY = "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"  # C4
_STOP_WORDS = r"\b(?:the|be|to|of|and|that|have|with)\b"
_lines_unpunctuated = _lines(lambda line: not line.endswith(_TERMINAL))

_FINDERS: dict[str, Finder] = {
    "text.max_line_chars": _longest_line,
    "text.upper_frac": _matches(r"(?:\b[A-Z][A-Z0-9_]+\b\W*)+"),
    "text.digit_frac": _matches(r"\d[\d.,:/-]*"),
    "text.punct_frac": _matches(r"[^\w\s]{3,}"),
    "text.non_ascii_frac": _matches(r"[^\x00-\x7f]+"),
    "text.control_chars": _matches(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+"),
    "text.replacement_chars": _matches("\ufffd+"),
    "gopher.mean_word_chars": _matches(r"\w{14,}"),
    "gopher.hash_ratio": _matches("#+"),
    "gopher.ellipsis_ratio": _matches(r"\.{3,}|…"),
    "gopher.bullet_line_frac": _lines(lambda line: line.startswith(("•", "-"))),
    "gopher.ellipsis_line_frac": _lines(lambda line: line.endswith(("...", "…"))),
    "gopher.alpha_word_frac": _matches(r"\b[\d_]+\b|[^\w\s]{2,}"),
    "gopher.stop_words": _matches(_STOP_WORDS),
    "gopher.dup_line_frac": _seen_before(_LINE),
    "gopher.dup_line_char_frac": _seen_before(_LINE),
    "gopher.dup_para_frac": _seen_before(_PARAGRAPH),
    "gopher.dup_para_char_frac": _seen_before(_PARAGRAPH),
    "c4.long_word_lines": _matches(r"\S{1000,}"),
    "c4.unpunctuated_lines": _lines_unpunctuated,
    "c4.short_lines": _lines(lambda line: len(line.split()) < 3),
    "c4.javascript_lines": _matches("javascript", re.IGNORECASE),
    "c4.policy_lines": _matches(_POLICY, re.IGNORECASE),
    "c4.lorem_ipsum_lines": _matches("lorem ipsum", re.IGNORECASE),
    "c4.curly_bracket_lines": _matches(r"\{"),
    "mc4.long_lines": _lines(lambda line: len(line) >= 200),
    "fineweb.line_punct_ratio": _lines_unpunctuated,
    "fineweb.short_line_ratio": _lines(lambda line: len(line) <= 30),
    "fineweb.char_dup_ratio": _seen_before(_LINE),
    "fineweb.c4_lorem_ipsum_lines": _matches("lorem ipsum", re.IGNORECASE),
    "fineweb.c4_curly_bracket_lines": _matches(r"\{"),
    **{f"gopher.top_{n}_gram_char_frac": _top_gram(n) for n in range(2, 5)},
    **{f"gopher.dup_{n}_gram_char_frac": _repeated_grams(n) for n in range(5, 11)},
}


def find_spans(signal: str, text: str) -> list[Span]:
    """Character spans that ``signal`` counts, in order; none where it has no place in the text."""
    finder = _FINDERS.get(signal)
    return [] if finder is None else finder(text)[:MAX_SPANS]


def excerpt(text: str, spans: Iterable[Span], size: int = EXCERPT) -> list[list[str | int]]:
    """The part of a text with the most marked characters, as [[piece, marked], …].

    Cut ends are shown as an ellipsis in the piece. Pieces are ready to be shown (``visible``).
    """
    marked = sorted((start, end) for start, end in spans if end > start)
    low = _best_window(marked, size) if marked else 0
    # Near the end of a text there is room for more of what came before.
    low = min(low, max(0, low - 160, len(text) - size))
    # A window opens at a line's start where one is near, otherwise between two words.
    line = text.rfind("\n", max(0, low - 80), low) + 1
    low = line if line > max(0, low - 80) else text.rfind(" ", max(0, low - 40), low) + 1
    high = min(len(text), low + size)
    pieces: list[list[str | int]] = [["… ", 0]] if low > 0 else []
    at = low
    for start, end in marked:
        start, end = max(start, at), min(end, high)
        if start >= end:
            continue
        if start > at:
            pieces.append([visible(text[at:start]), 0])
        pieces.append([visible(text[start:end]), 1])
        at = end
    if at < high:
        pieces.append([visible(text[at:high]), 0])
    if high < len(text):
        pieces.append([" …", 0])
    return pieces


def _best_window(marked: list[Span], size: int) -> int:
    """Where a window of ``size`` covers most marked characters (the first such place)."""
    best, best_low, last, covered = -1, 0, 0, 0
    for first, (low, _) in enumerate(marked):
        if last < first:
            last, covered = first, 0
        while last < len(marked) and marked[last][0] < low + size:
            covered += marked[last][1] - marked[last][0]
            last += 1
        inside = covered
        if inside > best:
            best, best_low = inside, low
        covered -= marked[first][1] - marked[first][0]
    return max(0, best_low - 60)
