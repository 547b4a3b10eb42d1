"""The plain version of ``gram_sums``, which reads like its definition."""

from __future__ import annotations

from collections import Counter
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from kernels.text.gram_sums import (
    GRAM_BYTES,
    GRAM_MIX,
    NORM_BITS,
    PREFIX_BYTES,
    ROOT_BITS,
    WORD_MIX,
)
from kernels.text.reference import content_word_hashes

_WORD = (1 << 64) - 1


def prefix(text: str) -> str:
    """As many whole characters of the beginning as fit into ``PREFIX_BYTES``."""
    return text.encode()[:PREFIX_BYTES].decode(errors="ignore")


def word_buckets(text: str, bits: int) -> list[int]:
    """The bucket of each word of the beginning."""
    return [(h * WORD_MIX & _WORD) >> (64 - bits) for h in content_word_hashes(prefix(text))]


def gram_buckets(text: str, bits: int) -> list[int]:
    """The bucket of each run of four bytes of the beginning."""
    data = prefix(text).encode()
    grams = [data[i : i + GRAM_BYTES] for i in range(len(data) - GRAM_BYTES + 1)]
    return [(int.from_bytes(g, "little") * GRAM_MIX & _WORD) >> (64 - bits) for g in grams]


def weighted_sums(buckets: list[int], weights: NDArray[np.int8]) -> list[int]:
    """Σ over buckets of weight times √count, over √(all counts), in units of 2^-20."""
    found = Counter(buckets)
    total = len(buckets)
    if not total:
        return [0] * weights.shape[1]
    sums = [
        sum(int(weights[bucket, j]) * _root(count) for bucket, count in found.items())
        for j in range(weights.shape[1])
    ]
    return [(value * _inverse_root(total)) >> ROOT_BITS for value in sums]


def _root(count: int) -> int:
    """2^8 √count to the nearest whole number (2^16 count is a whole number's square, or is nearer
    to one of its neighbours by more than any rounding)."""
    square = count << 2 * ROOT_BITS
    low = isqrt(square)
    # Nearer to low + 1 exactly when it lies beyond (low + 1/2)² = low² + low + 1/4.
    return low + (square > low * low + low)


def _inverse_root(total: int) -> int:
    """2^20 / √total to the nearest whole number."""
    square = 1 << 2 * NORM_BITS
    low = isqrt(square // total)
    return low + (4 * square > (2 * low + 1) ** 2 * total)
