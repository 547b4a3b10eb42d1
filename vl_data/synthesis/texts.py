"""Words to draw: of the corpus's documents where there are some, else of a small list."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.fonts import wide

IMAGE_TAG = "<image>"
"""Stands for an image in LLaVA's conversations: no drawn word may hold it."""

_SLICE = 1500
_TRIES = 8
_LONGEST_WORD = 24

WORDS = tuple(
    """
    anchor apple arrow autumn bakery basket beacon bridge bronze butter candle canvas carbon castle
    cedar chapel cinema circle citrus clover cobalt coffee copper coral cotton crater crystal dahlia
    desert dinner domain eagle ember engine estate fabric falcon ferry filter forest fossil galaxy
    garden ginger glacier granite guitar hammer harbor helmet hollow honey island ivory jacket
    jungle kernel ladder lagoon lantern ledger lemon library linen magnet maple marble market meadow
    mirror module monsoon nickel north oasis ocean olive orbit orchid origin packet palace paper
    parade pebble pepper pigeon planet plaza pocket poplar prairie quartz quiet rabbit radio ribbon
    river rocket saddle sailor salmon sector silver spring station stone summer sunset temple
    thunder ticket timber tunnel turbine valley velvet village violet walnut willow window winter
    zenith
    """.split()
)
"""Common nouns, where no text is given or none of it can be drawn."""


class Drawn(NamedTuple):
    """Words in a row, and the id of the document they are from (None: `WORDS`)."""

    words: tuple[str, ...]
    source: str | None


class TextPool:
    """Documents that words are drawn from, by id and never by place in the input.

    Parameters
    ----------
    documents : iterable of (id, text)
        Two of one id: the last one counts. Texts are held in memory.
    """

    def __init__(self, documents: Iterable[tuple[str, str]] = ()) -> None:
        self._texts = dict(documents)
        self._ids = sorted(self._texts)

    def __len__(self) -> int:
        return len(self._ids)

    def words(
        self, draws: Draws, count: int, longest: int = _LONGEST_WORD, fewest: int | None = None
    ) -> Drawn:
        """``count`` words that stand one after another in a document.

        Parameters
        ----------
        longest : int
            Characters of a word; longer ones, and those no font draws, are passed over, so that
            what comes before and after them may stand together.
        fewest : int, optional
            How many words of a document will do; None: all ``count``.

        Notes
        -----
        Tries some places of some documents; where they hold too few words the list serves.
        """
        for _ in range(_TRIES if self._ids else 0):
            name = draws.pick(self._ids)
            text = self._texts[name]
            start = draws.below(max(len(text) - _SLICE, 0) + 1)
            found = text[start : start + _SLICE].split()
            # The first and last words of a slice may be cut.
            found = found[1 if start else 0 : None if start + _SLICE >= len(text) else -1]
            usable = [w for w in map(_normal, found) if len(w) <= longest and _drawn(w)]
            if len(usable) >= (count if fewest is None else fewest):
                first = draws.below(max(len(usable) - count, 0) + 1)
                return Drawn(tuple(usable[first : first + count]), name)
        fitting = [word for word in WORDS if len(word) <= max(longest, 4)] or list(WORDS)
        return Drawn(tuple(draws.pick(fitting)[:longest] for _ in range(count)), None)


def _normal(word: str) -> str:
    return unicodedata.normalize("NFC", word)


def _drawn(word: str) -> bool:
    """Whether a word can be drawn, and means nothing to a reader of chats."""
    return (
        wide().issuperset(word)
        and IMAGE_TAG not in word
        and "<|" not in word
        and "|>" not in word
        and any(character.isalnum() for character in word)
    )
