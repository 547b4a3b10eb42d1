"""MinHash written like its definition, in Python integers and NumPy: the judge of ``minhash``.

One shingle at a time, no blocks, no shared buffers. datasketch itself judges both, see
``dedup.signatures.datasketch_signature``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.text.minhash import SHINGLE_MULTIPLIER, MinHashParams

_MASK32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1


def mix64(h: int) -> int:
    """MurmurHash3's 64-bit finaliser."""
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _MASK64
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & _MASK64
    return h ^ (h >> 33)


def mix32(h: int) -> int:
    """MurmurHash3's 32-bit finaliser."""
    h ^= h >> 16
    h = h * 0x85EBCA6B & _MASK32
    h ^= h >> 13
    h = h * 0xC2B2AE35 & _MASK32
    return h ^ (h >> 16)


def shingle_hashes(words: Sequence[int], ngram: int) -> list[int]:
    """64-bit hashes of every ``ngram`` consecutive word hashes, in order, repeats included."""
    hashes = []
    for i in range(len(words) - ngram + 1):
        h = 0
        for word in words[i : i + ngram]:
            h = (h * SHINGLE_MULTIPLIER + int(word)) & _MASK64
        hashes.append(mix64(h))
    return hashes


def signature(words: Sequence[int], params: MinHashParams) -> NDArray[np.uint32] | None:
    """uint32[bands * rows], or None where the document has fewer than ``ngram`` words."""
    base = [h & _MASK32 for h in shingle_hashes(words, params.ngram)]
    if not base:
        return None
    permutations = zip(params.a.tolist(), params.b.tolist(), strict=True)
    least = [min((a * mix32(h) + b) & _MASK32 for h in base) for a, b in permutations]
    return np.array(least, dtype=np.uint32)


def band_keys(sig: Sequence[int], bands: int, rows: int) -> list[int]:
    """64-bit key of each band of ``rows`` signature values."""
    keys = []
    for band in range(bands):
        key = 0x2545F4914F6CDD1D
        for value in sig[band * rows : (band + 1) * rows]:
            key = mix64(key ^ int(value))
        keys.append(key)
    return keys


def shingle_set(words: Sequence[int], ngram: int) -> list[int]:
    """Distinct 64-bit shingle hashes, ascending."""
    return sorted(set(shingle_hashes(words, ngram)))
