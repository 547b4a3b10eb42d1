"""Roots: hashes that certify a run whatever way it was built.

A *logical* root covers canonical rows. The rows of a table are a multiset: each row is hashed to
128 bits (XXH3-128 of an unambiguous encoding) and the hashes are added modulo 2^128. Addition
commutes, so the sum does not depend on partitions, workers or order, and partitions can be summed
where they lie. It guards against faults, not against forgers: use the file root (BLAKE3) for that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import blake3
import orjson
import pyarrow as pa
import xxhash

_MODULUS = 1 << 128


def encode_value(value: Any) -> bytes:
    """An unambiguous encoding of a cell: a type letter, a length where it varies, the bytes.

    A struct is its values in the order of its fields.
    """
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return b"s%d:" % len(data) + data
    if isinstance(value, list):
        return b"l%d:" % len(value) + b"".join(encode_value(v) for v in value)
    if isinstance(value, dict):
        return b"r%d:" % len(value) + b"".join(encode_value(v) for v in value.values())
    raise TypeError(f"no canonical encoding for {type(value).__name__}")


def rows_root(table: pa.Table, later: Sequence[str] = ()) -> int:
    """The sum of the row hashes of ``table`` (timestamps count as integers).

    ``later`` names columns of lists, the last ones of the table: a row in which all of them are
    empty hashes as if it did not have them. So a table gains a column without a new root.
    """
    bare = len(table.column_names) - len(later)
    if later and not any(_any_element(table[name]) for name in later):
        table = table.drop_columns(list(later))
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns.append(column.to_pylist())
    total = 0
    digest = xxhash.xxh3_128_intdigest
    for row in zip(*columns, strict=True):
        if later and not any(row[bare:]):
            row = row[:bare]
        total += digest(b"".join([encode_value(v) for v in row]))
    return total % _MODULUS


def _any_element(column: pa.ChunkedArray) -> bool:
    return any(len(chunk.flatten()) for chunk in column.chunks)


def add_roots(roots: Iterable[int]) -> int:
    """Combine the roots of disjoint parts of a table."""
    return sum(roots) % _MODULUS


def hex_root(root: int) -> str:
    """32 hex digits."""
    return f"{root:032x}"


def combine(parts: Mapping[str, str]) -> str:
    """One hash (BLAKE3, 64 hex digits) over named hashes."""
    return str(blake3.blake3(orjson.dumps(dict(parts), option=orjson.OPT_SORT_KEYS)).hexdigest())
