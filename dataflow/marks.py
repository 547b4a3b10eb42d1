"""Images and loss spans of a text from which cleaning takes bytes away.

An image whose mark goes leaves the document with it; offsets of loss spans move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.cleaning import Spans
from dataflow.lists import list_array
from vl_data.images import MARK

_MARK = MARK.encode()


@dataclass(frozen=True)
class Followed:
    """What n texts have after cleaning: ``images`` and ``loss``, list columns.

    ``mute`` (bool[n]): the text said what carries loss, and has lost all of it. ``pictured``
    (uint8[n]): it had images before; one that has lost them stays among those that have some.
    """

    images: pa.ListArray
    loss: pa.ListArray
    mute: np.ndarray
    pictured: np.ndarray


def follow_spans(documents: pa.Table, spans: Spans) -> Followed:
    """What stays of the images and loss spans of ``documents`` without ``spans``.

    Parameters
    ----------
    documents : ``text``, ``images`` and ``loss``, before cleaning
    spans : as ``dataflow.cleaning.find_spans`` gives them
    """
    n = documents.num_rows
    images, loss = list_array(documents["images"]), list_array(documents["loss"])
    mute = np.zeros(n, bool)
    pictured = (np.asarray(images.value_lengths()) > 0).astype(np.uint8)
    listed = (pictured > 0) | (np.asarray(loss.value_lengths()) > 0)
    touched = np.unique(spans.document)
    touched = touched[listed[touched]]
    if not len(touched):
        return Followed(images, loss, mute, pictured)
    kept: list[Any] = []
    moved: list[list[int]] = []
    for row in touched.tolist():
        mine = slice(*np.searchsorted(spans.document, [row, row + 1]))
        start, length = spans.start[mine], spans.length[mine]
        held = images[row].as_py()
        if held:
            text = documents["text"][row].as_py().encode()
            stays = marks_that_stay(text, start, length)
            held = [image for image, stay in zip(held, stays, strict=True) if stay]
        kept.append(held)
        said = loss[row].as_py()
        moved.append(move_loss(said, start, length))
        mute[row] = bool(said) and not moved[-1]
    return Followed(_replace(images, touched, kept), _replace(loss, touched, moved), mute, pictured)


def marks_that_stay(text: bytes, start: np.ndarray, length: np.ndarray) -> list[bool]:
    """Which marks of a text (UTF-8) no removed span covers. Spans ascend and do not overlap."""
    stays = []
    place = text.find(_MARK)
    while place >= 0:
        span = int(np.searchsorted(start, place, "right")) - 1
        stays.append(span < 0 or place >= int(start[span] + length[span]))
        place = text.find(_MARK, place + len(_MARK))
    return stays


def move_loss(loss: Sequence[int], start: np.ndarray, length: np.ndarray) -> list[int]:
    """Flat loss spans after the removal of spans; those of which nothing is left are gone."""
    places = np.asarray(loss, np.int64).reshape(-1, 2)
    before = np.clip(places[..., None] - start, 0, length).sum(axis=-1)
    moved = places - before
    flat: list[int] = moved[moved[:, 0] < moved[:, 1]].reshape(-1).tolist()
    return flat


def _replace(lists: pa.ListArray, rows: np.ndarray, values: list[Any]) -> pa.ListArray:
    """``lists`` with some of its rows replaced."""
    both = pa.concat_arrays([lists, pa.array(values, lists.type)])
    order = np.arange(len(lists))
    order[rows] = len(lists) + np.arange(len(rows))
    return both.take(pa.array(order))
