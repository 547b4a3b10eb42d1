"""MinHash signatures of word n-grams: datasketch 2's ``affine32`` scheme, compiled.

From words to band keys, every step in unsigned integers that wrap around:

1. *Shingle hash* (64 bits) of the words ``w[i] .. w[i+ngram-1]``, each given by its own 64-bit
   hash: the polynomial ``((w[i] * M + w[i+1]) * M + ...) mod 2**64`` where M is
   ``SHINGLE_MULTIPLIER``, then MurmurHash3's 64-bit finaliser, a bijection.
   Exact Jaccard similarity is computed on sets of these 64-bit hashes.
2. *Base hash* (32 bits): the low half of the shingle hash. It is what ``datasketch.MinHash`` gets
   as the output of its ``hashfunc``.
3. datasketch 2.0 ``affine32``: MurmurHash3's 32-bit finaliser of the base hash, then permutation
   ``k`` is ``a[k] * h + b[k] mod 2**32`` with odd ``a[k]``; the signature holds the smallest value
   under each permutation.
4. *Band key* (64 bits) of ``rows`` consecutive signature values: they are chained through the
   64-bit finaliser. Keys are compared within one band only.

A document of fewer than ``ngram`` words has no shingle and therefore no signature.

Sources: Broder 1997 (MinHash), Leskovec et al., Mining of Massive Datasets ch. 3 (banding),
datasketch 2.0.0 (``affine32``), MurmurHash3 (finalisers), FineWeb (14 bands of 8 rows, 5-grams).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

# Odd, and 3 modulo 8: the difference of two powers of it has few factors of two, so two orders of
# the same words differ in all but a few of the 64 bits.
SHINGLE_MULTIPLIER = 0x9E3779B97F4A7C13

_MULTIPLIER = np.uint64(SHINGLE_MULTIPLIER)
_BAND_SEED = np.uint64(0x2545F4914F6CDD1D)
_MIX64_A = np.uint64(0xFF51AFD7ED558CCD)
_MIX64_B = np.uint64(0xC4CEB9FE1A85EC53)
_MIX32_A = np.uint32(0x85EBCA6B)
_MIX32_B = np.uint32(0xC2B2AE35)
_U64_33 = np.uint64(33)
_U32_13 = np.uint32(13)
_U32_16 = np.uint32(16)
_MAX32 = np.uint32(0xFFFFFFFF)

# Shingles hashed at a time: 4 KiB of 64-bit and 2 KiB of 32-bit hashes stay in the L1 cache while
# every permutation passes over them.
_BLOCK = 512
# Blocks are padded to a multiple of this, so that the minimum runs in whole vectors only.
_LANES = 32


class MinHashParams(NamedTuple):
    """Parameters of a signature and its banding; build it with :func:`minhash_params`.

    ``a`` and ``b`` are uint32 of length ``bands * rows``, the permutations' parameters.
    """

    ngram: int
    bands: int
    rows: int
    seed: int
    a: NDArray[np.uint32]
    b: NDArray[np.uint32]


def minhash_params(ngram: int = 5, bands: int = 14, rows: int = 8, seed: int = 1) -> MinHashParams:
    """Draw the permutations as ``datasketch.MinHash(num_perm=bands * rows, seed=seed)`` does.

    ``ngram`` is the shingle length in words. Raises ``ValueError`` for a count below 1 or a seed
    outside 0 .. 2**32 - 1.
    """
    for name, value in (("ngram", ngram), ("bands", bands), ("rows", rows)):
        if value < 1:
            raise ValueError(f"minhash {name}: found {value}, expected an integer of at least 1")
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"minhash seed: found {seed}, expected an integer in 0 .. 4294967295")
    permutations = bands * rows
    generator = np.random.RandomState(seed)
    half = generator.randint(0, 1 << 31, permutations, dtype=np.uint32)
    a = half * np.uint32(2) + np.uint32(1)
    b = generator.randint(0, 1 << 32, permutations, dtype=np.uint32)
    return MinHashParams(ngram, bands, rows, seed, a, b)


@njit(inline="always")
def _mix64(h: np.uint64) -> np.uint64:
    h ^= h >> _U64_33
    h *= _MIX64_A
    h ^= h >> _U64_33
    h *= _MIX64_B
    return h ^ (h >> _U64_33)


@njit(inline="always")
def _mix32(h: np.uint32) -> np.uint32:
    h = np.uint32(h ^ (h >> _U32_16))
    h = np.uint32(h * _MIX32_A)
    h = np.uint32(h ^ (h >> _U32_13))
    h = np.uint32(h * _MIX32_B)
    return np.uint32(h ^ (h >> _U32_16))


@njit(cache=True, nogil=True, boundscheck=False)
def shingle_hashes(word_hashes: U64, start: int, count: int, ngram: int, out: U64) -> None:
    """Hash the ``count`` shingles that begin at words ``start, start + 1, ...``.

    ``word_hashes`` uint64 of at least ``start + count + ngram - 1`` words; ``out`` uint64, its
    first ``count`` elements are written. Word by word over the block, not shingle by shingle: the
    inner loop carries no dependency and vectorises.
    """
    for i in range(count):
        out[i] = word_hashes[start + i]
    for k in range(1, ngram):
        for i in range(count):
            out[i] = out[i] * _MULTIPLIER + word_hashes[start + i + k]
    for i in range(count):
        out[i] = _mix64(out[i])


@njit(cache=True, nogil=True, boundscheck=False)
def signature(word_hashes: U64, n: int, ngram: int, a: U32, b: U32, out: U32) -> int:
    """MinHash signature of a document's ``n`` words.

    ``word_hashes`` uint64, its first ``n`` elements are the document; ``a``, ``b`` uint32[p] from
    :func:`minhash_params`; ``out`` uint32[p] is written. Returns the number of shingles (not
    distinct ones), ``max(0, n - ngram + 1)``; at 0 there is no signature and ``out`` holds
    2**32 - 1 throughout.
    """
    permutations = a.shape[0]
    for k in range(permutations):
        out[k] = _MAX32
    shingles = n - ngram + 1
    if shingles <= 0:
        return 0
    wide = np.empty(_BLOCK, np.uint64)
    base = np.empty(_BLOCK, np.uint32)
    start = 0
    while start < shingles:
        count = min(_BLOCK, shingles - start)
        shingle_hashes(word_hashes, start, count, ngram, wide)
        for i in range(count):
            base[i] = _mix32(np.uint32(wide[i]))
        # A minimum does not change when a value is seen again.
        padded = (count + _LANES - 1) // _LANES * _LANES
        for i in range(count, padded):
            base[i] = base[0]
        for k in range(permutations):
            slope = a[k]
            shift = b[k]
            least = out[k]
            for i in range(padded):
                value = np.uint32(slope * base[i] + shift)
                least = min(least, value)
            out[k] = least
        start += count
    return shingles


@njit(cache=True, nogil=True, boundscheck=False)
def band_keys(sig: U32, bands: int, rows: int, out: U64) -> None:
    """Fold a signature uint32[bands * rows] into ``out`` uint64[bands], one key a band."""
    for band in range(bands):
        key = _BAND_SEED
        for row in range(rows):
            key = _mix64(key ^ np.uint64(sig[band * rows + row]))
        out[band] = key


@njit(cache=True, nogil=True, boundscheck=False)
def sort_unique(values: U64, n: int, out: U64) -> int:
    """Write the distinct values of ``values[:n]`` (uint64 hashes) to ``out`` in order; count them.

    A counting pass on the leading bits puts a value next to its final place, an insertion pass
    finishes: linear time for hashes, which are spread evenly. ``out`` is uint64 of at least ``n``.
    """
    if n == 0:
        return 0
    bits = 1
    while (1 << bits) < n and bits < 30:
        bits += 1
    shift = np.uint64(64 - bits)
    places = np.zeros((1 << bits) + 1, np.int64)
    for i in range(n):
        places[np.int64(values[i] >> shift) + 1] += 1
    for i in range(1 << bits):
        places[i + 1] += places[i]
    for i in range(n):
        bucket = np.int64(values[i] >> shift)
        out[places[bucket]] = values[i]
        places[bucket] += 1
    for i in range(1, n):
        value = out[i]
        j = i - 1
        while j >= 0 and out[j] > value:
            out[j + 1] = out[j]
            j -= 1
        out[j + 1] = value
    count = 1
    for i in range(1, n):
        if out[i] != out[count - 1]:
            out[count] = out[i]
            count += 1
    return count


@njit(cache=True, nogil=True, boundscheck=False)
def shingle_set(word_hashes: U64, n: int, ngram: int, out: U64) -> int:
    """The set of 64-bit shingle hashes of a document's ``n`` words, ascending.

    ``out`` uint64 of at least ``max(0, n - ngram + 1)``. Returns the number of distinct hashes
    written at its front.
    """
    shingles = n - ngram + 1
    if shingles <= 0:
        return 0
    hashes = np.empty(shingles, np.uint64)
    shingle_hashes(word_hashes, 0, shingles, ngram, hashes)
    count: int = sort_unique(hashes, shingles, out)
    return count
