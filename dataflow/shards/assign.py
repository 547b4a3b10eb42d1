"""Where documents go: a shard, and a place in it, from their ids and a seed alone.

Documents are shuffled globally by hash, so any stretch of a shard is a fair sample of the corpus,
and a document's place does not depend on what else is in the run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_SHARD, _ORDER = 0x6C65796473686172, 0x6C6579646F726472
"""Domains of the two hashes ("leydshar", "leydordr"): one must not predict the other."""
MAX_SHARDS = 1 << 31


def shard_of(doc_ids: pa.Array | pa.ChunkedArray, shards: int, seed: int) -> npt.NDArray[np.int64]:
    """The shard of each document, uniform over 0 to ``shards`` - 1.

    Parameters
    ----------
    doc_ids : fixed_size_binary(16) array of length n
    shards : int
        1 to 2**31.
    seed : int
        0 to 2**64 - 1.

    Returns
    -------
    int64 array of length n
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"shards is {shards}, expected 1 to {MAX_SHARDS}")
    mixed = _mix_ids(doc_ids, seed, _SHARD)
    # The high 64 bits of mixed * shards, in halves: no product exceeds 64 bits.
    low, high = mixed & np.uint64(0xFFFFFFFF), mixed >> np.uint64(32)
    count = np.uint64(shards)
    return ((high * count + ((low * count) >> np.uint64(32))) >> np.uint64(32)).astype(np.int64)


def order_key(doc_ids: pa.Array | pa.ChunkedArray, seed: int) -> npt.NDArray[np.uint64]:
    """The key that documents of a shard are sorted by; equal keys are sorted by ``doc_id``."""
    return _mix_ids(doc_ids, seed, _ORDER)


def shard_order(doc_ids: pa.Array | pa.ChunkedArray, seed: int) -> npt.NDArray[np.int64]:
    """The rows of ``doc_ids`` in shard order: by `order_key`, then by ``doc_id``."""
    big = _words(doc_ids).byteswap()  # bytes compare as big-endian numbers do
    return np.lexsort([big[:, 1], big[:, 0], order_key(doc_ids, seed)])


def _words(doc_ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Ids as little-endian uint64, shape (n, 2)."""
    array = doc_ids.combine_chunks() if isinstance(doc_ids, pa.ChunkedArray) else doc_ids
    if array.type != pa.binary(16) or array.null_count:
        raise ValueError(f"found ids of {array.type}, expected fixed_size_binary(16) without nulls")
    if len(array) == 0:
        return np.zeros((0, 2), dtype=np.uint64)
    data = np.frombuffer(array.buffers()[1], dtype="<u8")
    return data[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)


def _mix_ids(doc_ids: pa.Array | pa.ChunkedArray, seed: int, domain: int) -> npt.NDArray[np.uint64]:
    """64 mixed bits of each id (SplitMix64's finalizer over both words, Steele et al. 2014)."""
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed is {seed}, expected 0 to 2**64 - 1")
    words = _words(doc_ids)
    start = _finalize(np.array([seed], dtype=np.uint64) ^ np.uint64(domain))
    return _finalize(_finalize(words[:, 0] ^ start) + words[:, 1])


def _finalize(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
