"""A document's shard and place follow from its id and the seed alone, and spread evenly."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.shards import order_key, shard_of, shard_order

MASK = (1 << 64) - 1


def _ids(count: int) -> pa.Array:
    return pa.array([hashlib.md5(str(i).encode()).digest() for i in range(count)], pa.binary(16))


def _finalize(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def _mix(doc_id: bytes, seed: int, domain: int) -> int:
    low, high = int.from_bytes(doc_id[:8], "little"), int.from_bytes(doc_id[8:], "little")
    start = _finalize(seed ^ domain)
    return _finalize((_finalize(low ^ start) + high) & MASK)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(min_size=16, max_size=16), max_size=20),
    st.integers(1, 1 << 31),
    st.integers(0, MASK),
)
def test_shard_and_order_are_the_stated_hash(ids: list[bytes], shards: int, seed: int) -> None:
    array = pa.array(ids, pa.binary(16))
    expected = [(_mix(i, seed, 0x6C65796473686172) * shards) >> 64 for i in ids]
    found = shard_of(array, shards, seed)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    keys = [_mix(i, seed, 0x6C6579646F726472) for i in ids]
    assert order_key(array, seed).tolist() == keys
    rows = sorted(range(len(ids)), key=lambda i: (keys[i], ids[i]))
    assert [ids[i] for i in shard_order(array, seed)] == [ids[i] for i in rows]


def test_slices_and_chunks_change_nothing() -> None:
    ids = _ids(100)
    whole = shard_of(ids, 7, 1)
    assert shard_of(ids.slice(10, 50), 7, 1).tolist() == whole[10:60].tolist()
    chunked = pa.chunked_array([ids.slice(0, 3), ids.slice(3)])
    assert shard_of(chunked, 7, 1).tolist() == whole.tolist()
    assert shard_of(pa.chunked_array([], pa.binary(16)), 7, 1).tolist() == []


def test_documents_spread_evenly_and_seeds_are_independent() -> None:
    ids = _ids(20_000)
    counts = np.bincount(shard_of(ids, 10, 0), minlength=10)
    # Chi-square with 9 degrees of freedom: 27.9 is the .001 quantile.
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9
    same = (shard_of(ids, 10, 0) == shard_of(ids, 10, 1)).mean()
    assert abs(same - 0.1) < 0.01
    # Where a document lies in its shard says nothing about which shard it is in.
    order = np.argsort(order_key(ids, 0))
    correlation = np.corrcoef(np.arange(len(order)), shard_of(ids, 10, 0)[order])[0, 1]
    assert abs(correlation) < 0.03


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match="shards is 0"):
        shard_of(_ids(1), 0, 0)
    with pytest.raises(ValueError, match="seed is -1"):
        shard_of(_ids(1), 1, -1)
    with pytest.raises(ValueError, match="expected fixed_size_binary"):
        shard_of(pa.array([b"short"]), 1, 0)
    with pytest.raises(ValueError, match="without nulls"):
        order_key(pa.array([None], pa.binary(16)), 0)
