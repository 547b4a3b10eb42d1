"""Text hashes of documents with images, mixed with what their images show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dataflow.ranks import SEQUENCES
from dataflow.tasks import StepContext

U64 = NDArray[np.uint64]


def read_sequences(context: StepContext, base: int | None, rows: int) -> U64 | None:
    """The sequences of a partition's rows; None for a partition without images.

    ``base`` is where its rows begin in ``SEQUENCES`` of the task's input ``alike``, or None.
    """
    if base is None:
        return None
    columns = SEQUENCES.open(context, context.input("alike"))
    found: U64 = columns.read("sequence", base, base + rows)
    return found


def mix_sequences(hashes: U64, sequences: U64) -> U64:
    """Hashes of texts with those of the images beside them; as they are where there is none (0).

    Equal hashes stay equal under one sequence and, but for chance (2^-64), differ under two.
    """
    mixed = (hashes ^ sequences) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    return np.where(sequences == 0, hashes, mixed)
