"""Damage done on purpose: documents whose words are put in random order, for the arms of studies.

A model learns less from them than from the same documents as they were written, and a study that
does not see it is too small. What is chosen and the new order depend on a document's text alone, so
neither on how the source is cut nor on who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import xxhash

from dataflow.sources.spec import Damage, Record, SourceError, Unreadable

SHUFFLED = "shuffle_words"
"""What ``metadata["damage"]`` of a shuffled document says."""

_WORD = re.compile(r"\S+")
_CHOICE_SEED, _ORDER_SEED = 1, 2


def damaged(
    outcomes: Iterable[Record | Unreadable], damage: Damage
) -> Iterator[Record | Unreadable]:
    """The outcomes with the chosen documents damaged, and their metadata saying so.

    Raises
    ------
    SourceError
        At a record with images or with spans to learn: their places would no longer be theirs.
    """
    for outcome in outcomes:
        if isinstance(outcome, Unreadable):
            yield outcome
            continue
        if outcome.images or outcome.loss:
            raise SourceError(
                f"{outcome.uri}: found images or spans to learn in a source with damage, expected "
                "plain text"
            )
        if is_chosen(outcome.text, damage.shuffle_words):
            marked = {**(outcome.metadata or {}), "damage": SHUFFLED}
            yield replace(outcome, text=shuffle_words(outcome.text), metadata=marked)
        else:
            yield outcome


def is_chosen(text: str, share: float) -> bool:
    """Whether a document is among ``share`` of all: those of a smaller share are among those of a
    larger one."""
    return xxhash.xxh3_64_intdigest(text.encode(), _CHOICE_SEED) < share * 2.0**64


def shuffle_words(text: str) -> str:
    """The words (runs of what is no whitespace) in a random order, each whitespace in its place."""
    words = _WORD.findall(text)
    order = iter(_order(len(words), xxhash.xxh3_64_intdigest(text.encode(), _ORDER_SEED)))
    return _WORD.sub(lambda _: words[next(order)], text)


def _order(count: int, seed: int) -> list[int]:
    """A permutation by sorting hashes (the finaliser of SplitMix64), the same for ever."""
    keys = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys += np.uint64(seed)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    found: list[int] = np.argsort(keys, kind="stable").tolist()
    return found
