"""LAMBADA's passages as items: the last word against other words.

The benchmark (arXiv:1606.06031) asks a model to write the last word of a passage; it has no
choices. Here the word is told from three others, so the accuracy is not LAMBADA's: it is higher,
and chance is a quarter. Distractors are words of the passage where it has enough (most answers
occur in theirs), of as nearly the answer's length as there are; then last words of other passages.
Which, and where the answer stands, is a hash of the passage: it does not depend on a random state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import xxhash

from mixtures.items.errors import ItemsError
from mixtures.items.item import Item
from mixtures.items.json_lines import BadField, Row

CHOICES = 4

Passage = tuple[int, str, str]
"""Line, passage without its last word, and that word."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def lambada_passage(row: Row) -> Passage:
    """Of ``context`` and ``continuation``, or of ``text``, whose last word is taken."""
    if "context" in row or "continuation" in row:
        return row.line, row.text("context").rstrip(), row.text("continuation").strip()
    before, _, word = row.text("text").rstrip().rpartition(" ")
    if not before.strip():
        raise BadField("text", row["text"], "two words or more")
    return row.line, before.rstrip(), word


def lambada_items(path: Path, passages: Sequence[Passage]) -> list[Item]:
    """An item of each passage. With fewer than four different words in all, choices are fewer.

    Raises
    ------
    ItemsError
        If a passage finds no distractor.
    """
    lasts = sorted({word for _, _, word in passages})
    items = []
    for line, before, word in passages:
        own = _nearest(_WORD.findall(before), word, before)
        others: list[str] = own[: CHOICES - 1]
        if len(others) < CHOICES - 1:
            taken = {w.lower() for w in others}
            more = [w for w in _nearest(lasts, word, before) if w.lower() not in taken]
            others += more[: CHOICES - 1 - len(others)]
        if not others:
            raise ItemsError(f"{path}: line {line}: found no word beside {word!r} to tell it from")
        answer = xxhash.xxh3_64_intdigest(before.encode()) % (len(others) + 1)
        choices = (*others[:answer], word, *others[answer:])
        items.append(Item(f"lambada-{line}", "lambada", before, choices, answer))
    return items


def _nearest(words: Iterable[str], to: str, salt: str) -> list[str]:
    """Different words but ``to``, by how their bytes differ in number, then by hash."""
    different = {w.lower(): w for w in words}
    different.pop(to.lower(), None)
    seed = xxhash.xxh3_64_intdigest(salt.encode())
    size = len(to.encode())
    return sorted(
        different.values(),
        key=lambda w: (
            abs(len(w.encode()) - size),
            xxhash.xxh3_64_intdigest(w.encode(), seed),
        ),
    )
