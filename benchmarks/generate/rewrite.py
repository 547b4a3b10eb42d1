"""Rewrites a page with other words: same tags, same structure, same lengths, other text.

Each distinct word of a page is replaced, wherever it stands, by one word of the same length of the
same language, so that what repeats in the page still repeats. The commonest words of a language
stay: text keeps its stop words and its language.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.generate.pages import Page

KEPT_WORDS = 40
"""The commonest words of each language are not replaced."""

_MARKUP = re.compile(
    r"<!--.*?-->|<(script|style|svg|math|template)\b.*?</\1\s*>|<[^>]*>|&#?\w+;",
    re.DOTALL | re.IGNORECASE,
)
# Scripts that write no spaces are replaced character by character.
_UNSPACED = "\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f"
_WORD = re.compile(rf"[^\W\d_{_UNSPACED}]{{2,}}|[{_UNSPACED}]")
# In a legacy encoding only runs of ASCII letters are surely letters.
_ASCII_WORD = re.compile(r"[A-Za-z]{4,}")
_LANGUAGE = re.compile(r"<html[^>]*?\blang\s*=\s*[\"']?([A-Za-z]{2,3})", re.IGNORECASE)

LOWER, CAPITAL, UPPER = range(3)


def _shape(word: str) -> int:
    if word[0].isupper():
        return UPPER if len(word) > 1 and word.isupper() else CAPITAL
    return LOWER


def _spell(word: str, shape: int) -> str:
    if shape == LOWER:
        return word
    other = word.upper() if shape == UPPER else word[0].upper() + word[1:]
    return other if len(other) == len(word) else word


@dataclass(frozen=True)
class _Text:
    """A page cut at its words: ``literals[0], slot 0, literals[1], …, literals[-1]``."""

    name: str
    codec: str
    pool: str
    literals: list[bytes]
    words: list[str]
    slots: list[tuple[int, int]]


def _cut(page: Page) -> _Text:
    try:
        text, codec, pattern = page.html.decode("utf-8"), "utf-8", _WORD
        found = _LANGUAGE.search(text[:4096])
        pool = found[1].lower() if found else "und"
    except UnicodeDecodeError:
        text, codec, pattern = page.html.decode("latin-1"), "latin-1", _ASCII_WORD
        pool = page.name
    literals: list[bytes] = []
    slots: list[tuple[int, int]] = []
    number: dict[str, int] = {}
    last = 0
    for start, end in _text_runs(text):
        for match in pattern.finditer(text, start, end):
            literals.append(text[last : match.start()].encode(codec))
            word = match[0]
            slots.append((number.setdefault(word.lower(), len(number)), _shape(word)))
            last = match.end()
    literals.append(text[last:].encode(codec))
    return _Text(page.name, codec, pool, literals, list(number), slots)


def _text_runs(text: str) -> Iterator[tuple[int, int]]:
    last = 0
    for match in _MARKUP.finditer(text):
        if match.start() > last:
            yield last, match.start()
        last = match.end()
    yield last, len(text)


class _Pool:
    """The words of one language by length, to be drawn by their frequency."""

    def __init__(self, counts: Counter[str]) -> None:
        common = sorted(counts, key=lambda w: (-counts[w], w))[:KEPT_WORDS]
        self.kept = {w for w in common if len(w) > 1}
        by_length: defaultdict[int, list[str]] = defaultdict(list)
        for word in sorted(counts):
            if word not in self.kept:
                by_length[len(word)].append(word)
        self.by_length = dict(by_length)
        self._cumulative: dict[int, npt.NDArray[np.float64]] = {}
        for length, words in self.by_length.items():
            weights = np.array([counts[w] for w in words], np.float64)
            self._cumulative[length] = np.cumsum(weights) / weights.sum()

    def replace(self, word: str, uniform: float) -> str:
        words = self.by_length.get(len(word))
        if words is None or word in self.kept:
            return word
        at = int(np.searchsorted(self._cumulative[len(word)], uniform, side="right"))
        return words[min(at, len(words) - 1)]


class Rewriter:
    """Turns ``pages`` into any number of distinct ones.

    Parameters
    ----------
    pages : sequence of Page
        The templates; their words, per language, are what new text is made of.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        self._texts = [_cut(page) for page in pages]
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for text in self._texts:
            counts[text.pool].update(text.words[w] for w, _ in text.slots)
        self._pools = {pool: _Pool(words) for pool, words in counts.items()}

    def __len__(self) -> int:
        return len(self._texts)

    def name(self, template: int) -> str:
        """The name of the page that a template came from."""
        return self._texts[template].name

    def rewrite(self, template: int, rng: np.random.Generator) -> list[bytes]:
        """New words for a template: the pieces of the page, literals and words in turn."""
        text = self._texts[template]
        pool = self._pools[text.pool]
        drawn = zip(text.words, rng.random(len(text.words)).tolist(), strict=True)
        words = [pool.replace(word, uniform) for word, uniform in drawn]
        pieces: list[bytes] = [b""] * (2 * len(text.slots) + 1)
        pieces[0::2] = text.literals
        forms: dict[tuple[int, int], bytes] = {}
        for slot, key in enumerate(text.slots):
            form = forms.get(key)
            if form is None:
                form = forms[key] = self._encode(text, words[key[0]], key)
            pieces[2 * slot + 1] = form
        return pieces

    def edit(
        self, template: int, pieces: list[bytes], rng: np.random.Generator, fraction: float
    ) -> list[bytes]:
        """A near copy: ``fraction`` of the words (one at least) exchanged for others."""
        text = self._texts[template]
        pool = self._pools[text.pool]
        edited = list(pieces)
        if not text.slots:
            return edited
        for slot in rng.integers(0, len(text.slots), max(1, int(len(text.slots) * fraction))):
            key = text.slots[int(slot)]
            word = pool.replace(text.words[key[0]], float(rng.random()))
            edited[2 * int(slot) + 1] = self._encode(text, word, key)
        return edited

    def _encode(self, text: _Text, word: str, key: tuple[int, int]) -> bytes:
        return _spell(word, key[1]).encode(text.codec, "replace")
