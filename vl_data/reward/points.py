"""The points of captions, in 64ths: integers from integers, so that a score is the same everywhere.

    informativeness   0 to 2 points   the bits of its distinct words; 64 bits are enough for 2
    originality       0 to 1 point    1/4 less with each doubling of the images that share it
    agreement         0 to 2 points   1 where the image makes no difference, or nobody has looked

A document has the mean of its captions', rounded down; its score is the sum, 0 to 5 points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

POINT = 64
INFORMATIVE, ORIGINAL, AGREEING = 2 * POINT, POINT, 2 * POINT
"""The most of each."""

NEUTRAL = AGREEING // 2
"""Of agreement, where it is not known."""

GAIN = 1024
"""Gains are in 1024ths of a nat a byte; a quarter of a nat a byte more is the most points."""

_WORTH_A_64TH = 128
_GAIN_A_64TH = 4


def informativeness(worth: I64, stock: NDArray[np.bool_]) -> I64:
    """Of captions by the worth of their words (256ths of a bit); none for names of files and for
    stock phrases (``stock``)."""
    found: I64 = np.where(stock, 0, np.minimum(worth // _WORTH_A_64TH, INFORMATIVE))
    return found


def originality(images: I64, template_images: I64) -> I64:
    """Of documents by the distinct images that share their caption, and their caption but for
    numbers (``caption.images``, ``caption.template_images``; 1 where unknown).

    A template loses half as fast: numbers may well be what an image shows.
    """
    lost = np.maximum(16 * _doublings(images), 8 * _doublings(template_images))
    found: I64 = np.maximum(ORIGINAL - lost, 0)
    return found


def agreement(gain: I64) -> I64:
    """Of captions by what their image gains them over another's (1024ths of a nat a byte)."""
    found: I64 = np.clip(NEUTRAL + gain // _GAIN_A_64TH, 0, AGREEING)
    return found


def _doublings(counts: I64) -> I64:
    """⌊log2⌋ of numbers from 1 to 2^53."""
    return np.frexp(np.maximum(counts, 1).astype(np.float64))[1].astype(np.int64) - 1
