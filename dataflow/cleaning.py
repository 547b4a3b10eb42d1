"""Cleaning: byte spans that leave kept documents on their way into a shard, each recorded.

A cleaner is a compiled function from texts to spans. Spans of all cleaners are merged so that no
byte is removed twice; the ledger names, for each span, the cleaner that came first in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kernels.text import c4_line_spans, control_spans

CLEANERS = {"control": control_spans, "c4.lines": c4_line_spans}
"""Name in a recipe to function ``(data, offsets, **options) -> (document, start, length)``."""


@dataclass(frozen=True)
class Spans:
    """Spans to remove: ``document`` int64[m] row, ``start``/``length`` int64[m] bytes,
    ``cleaner`` int64[m]; sorted by document and start; no two of a document overlap."""

    document: np.ndarray
    start: np.ndarray
    length: np.ndarray
    cleaner: np.ndarray


def find_spans(
    data: np.ndarray, offsets: np.ndarray, cleaners: Sequence[Mapping[str, Any]]
) -> Spans:
    """All spans that ``cleaners`` (``{"name", "options"}``) remove from the texts."""
    found = []
    for number, cleaner in enumerate(cleaners):
        document, start, length = CLEANERS[cleaner["name"]](data, offsets, **cleaner["options"])
        found.append(np.stack([document, start, length, np.full(len(start), number)]))
    if not found:
        empty = np.zeros(0, np.int64)
        return Spans(empty, empty, empty, empty)
    document, start, length, number = np.concatenate(found, axis=1).astype(np.int64)
    order = np.lexsort([-length, number, start, document])
    spans = Spans(document[order], start[order], length[order], number[order])
    return _without_overlap(spans)


def _without_overlap(spans: Spans) -> Spans:
    """Cut from each span what an earlier one of its document covers; drop what is then empty."""
    end = spans.start + spans.length
    start = spans.start.copy()
    keep = np.ones(len(start), bool)
    covered = 0
    for i in range(len(start)):
        if i and spans.document[i] != spans.document[i - 1]:
            covered = 0
        start[i] = max(start[i], covered)
        if start[i] >= end[i]:
            keep[i] = False
        else:
            covered = int(end[i])
    return Spans(spans.document[keep], start[keep], (end - start)[keep], spans.cleaner[keep])


def remove_spans(texts: pa.Array, spans: Spans) -> tuple[pa.Array, np.ndarray]:
    """The texts (``large_binary``) without their spans, and the bytes removed from each.

    Raises
    ------
    ValueError
        If a span does not lie inside its text.
    """
    removed = np.zeros(len(texts), np.int64)
    np.add.at(removed, spans.document, spans.length)
    touched = np.flatnonzero(removed)
    if len(touched) == 0:
        return texts, removed
    first = np.searchsorted(spans.document, np.arange(len(texts) + 1))
    pieces: list[bytes | None] = [None] * len(texts)
    for row in touched:
        text = texts[int(row)].as_py()
        out, position = [], 0
        for i in range(first[row], first[row + 1]):
            start, length = int(spans.start[i]), int(spans.length[i])
            if start < position or start + length > len(text):
                raise ValueError(f"a span of document {row} lies outside of its text")
            out.append(text[position:start])
            position = start + length
        out.append(text[position:])
        pieces[row] = b"".join(out)
    replaced = pa.array([pieces[row] for row in touched], pa.large_binary())
    mask = np.zeros(len(texts), bool)
    mask[touched] = True
    return pc.replace_with_mask(texts, pa.array(mask), replaced), removed
