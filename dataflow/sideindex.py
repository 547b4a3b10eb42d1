"""Entries of a run's side index by their keys, in a few range reads (`dataflow.steps.lookup`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflow.run import Run
from dataflow.steps.lookup import ENTRY, URI_ENTRY

_ENTRIES = {"documents": ENTRY, "uris": URI_ENTRY}


def find_entries(
    run: Run, role: Literal["documents", "uris"], keys: Iterable[bytes]
) -> list[npt.NDArray[Any]]:
    """All entries with each key, in the order of the keys: empty arrays where there is none.

    Keys are hashes, so an entry's place is known to about the square root of the count: one range
    read nearly always holds it. Where it does not, the window doubles until it does.

    Parameters
    ----------
    role : ``documents`` by ``doc_id``, or ``uris`` by ``dataflow.ids.uri_key``
    keys : of 16 bytes
    """
    output = run.lookup.outputs[role]
    dtype = _ENTRIES[role]
    count = output.bytes // dtype.itemsize
    with run.store.open(output.path) as stream:
        return [_find(stream, dtype, count, key) for key in keys]


def _find(stream: pa.NativeFile, dtype: np.dtype[Any], count: int, key: bytes) -> npt.NDArray[Any]:
    expected = count * int.from_bytes(key, "big") >> 128
    margin = 64 + 3 * math.isqrt(count)
    halves = np.frombuffer(key, ">u8")
    while True:
        low, high = max(0, expected - margin), min(count, expected + margin)
        data = stream.read_at((high - low) * dtype.itemsize, low * dtype.itemsize)
        entries = np.frombuffer(data, dtype)
        keys = entries["key"]
        begins_before = low == 0 or tuple(keys[0]) < tuple(halves)
        ends_after = high == count or tuple(keys[-1]) > tuple(halves)
        if begins_before and ends_after:
            found: npt.NDArray[Any] = entries[(keys == halves).all(axis=1)]
            return found
        margin *= 2
