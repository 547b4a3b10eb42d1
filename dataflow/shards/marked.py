"""The ids of documents with images or loss spans: one id an image, and which tokens carry loss.

A document with loss spans is a conversation (`vl_data.mix.chat`): there the specials that open and
end its turns are spelled out, and each is the one id that the tokenizer keeps for its role.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow.shards.errors import ShardError
from dataflow.tokenizer import Tokenizer
from dataflow.tokenizer.places import token_places
from vl_data.images import MARK
from vl_data.mix.chat import specials_in

IMAGE_ROLE = "image"
"""The special that stands for an image."""


def encode_marked(
    text: str, tokenizer: Tokenizer, *, pictured: bool, loss: Sequence[int], where: str
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The ids of a document without ``eod``, and the rows of tokens that carry loss.

    Parameters
    ----------
    text : str
    pictured : its marks are images; else they are characters like any other.
    loss : flat spans in bytes of the text's UTF-8; empty: all of it carries loss.
    where : what to name in errors.

    Returns
    -------
    uint32[n], and int64[m, 2] of (first, end) in tokens: ascending, apart from each other. A token
    carries loss that holds a byte of a span; ``eod``, with the number n, where a span ends the text
    (the model is to learn that it ends there).

    Raises
    ------
    ShardError
        If the tokenizer has no special for images, or no token holds a byte of any span.
    """
    ids: list[npt.NDArray[np.uint32]] = []
    places: list[npt.NDArray[np.int64]] = []
    reached = 0
    for part in _parts(text, pictured=pictured, chat=bool(loss)):
        size = len(part.text.encode())
        if part.role:
            found = np.array([_special(tokenizer, part.role, where)], np.uint32)
            place = np.array([[0, size]], np.int64)
        else:
            found = tokenizer.encode(part.text)
            place = token_places(tokenizer, part.text, found) if loss else _NOWHERE
        ids.append(found)
        places.append(place + reached)
        reached += size
    together = np.concatenate(ids)
    if not loss:
        return together, np.zeros((0, 2), np.int64)
    rows = _rows(np.concatenate(places), np.array(loss, np.int64).reshape(-1, 2), reached)
    if not len(rows):
        raise ShardError(f"{where}: no token holds a byte of its loss spans {list(loss)}")
    return together, rows


_NOWHERE = np.zeros((0, 2), np.int64)


class _Part(NamedTuple):
    """A stretch of a text: of text, or one special of a role."""

    text: str
    role: str = ""


def _parts(text: str, *, pictured: bool, chat: bool) -> Iterator[_Part]:
    """A text cut at its images, and at the specials of a chat; nothing is left out of it."""
    for number, piece in enumerate(text.split(MARK) if pictured else [text]):
        if number:
            yield _Part(MARK, IMAGE_ROLE)
        if not chat:
            yield _Part(piece)
            continue
        data, done = piece.encode(), 0
        for special in specials_in(piece):
            yield _Part(data[done : special.start].decode())
            yield _Part(data[special.start : special.end].decode(), special.role)
            done = special.end
        yield _Part(data[done:].decode())


def _special(tokenizer: Tokenizer, role: str, where: str) -> int:
    found = tokenizer.specials.get(role)
    if found is None:
        what = "images" if role == IMAGE_ROLE else f"a turn's {role!r}"
        raise ShardError(
            f"{where}: found {what}, and tokenizer {tokenizer.hash} has no special of role "
            f"{role!r}; train one, or take it in with `python -m dataflow tokenizer use`, "
            "which reserves it"
        )
    return found


def _rows(
    places: npt.NDArray[np.int64], spans: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    """Runs of tokens that hold a byte of a span."""
    carries = np.zeros(len(places) + 1, bool)
    start, end = places.T
    for first, last in spans.tolist():
        carries[:-1] |= (start < last) & (end > first) & (end > start)
        carries[-1] |= last == size
    edges = np.flatnonzero(np.diff(np.concatenate([[False], carries, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)
