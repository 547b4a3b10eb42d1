"""The floor: what reading a text column from Parquet and writing it again costs.

No part of the build that takes a table and leaves a table can be faster, so each part's speed is
also given as a fraction of this.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import Texts, web_texts

FLOOR = "Parquet decoded and written again"


def floor_of(texts: Texts) -> Callable[[], float]:
    """A timed run of the floor over ``texts`` (zstd level 3, one thread, in memory)."""
    packed = io.BytesIO()
    pq.write_table(pa.table({"text": texts.array}), packed, compression="zstd", compression_level=3)

    def work() -> None:
        packed.seek(0)
        table = pq.read_table(packed, use_threads=False)
        pq.write_table(table, io.BytesIO(), compression="zstd", compression_level=3)

    return lambda: seconds(work)


def run(report: Report, options: Options) -> None:
    """Time the floor, and its two halves."""
    texts = web_texts(options)
    megabytes = texts.bytes / 1e6
    report.add(f"input: {texts.label}", megabytes, "MB")
    table = pa.table({"text": texts.array})
    packed = io.BytesIO()
    pq.write_table(table, packed, compression="zstd", compression_level=3)

    def decode() -> None:
        packed.seek(0)
        pq.read_table(packed, use_threads=False)

    def write() -> None:
        pq.write_table(table, io.BytesIO(), compression="zstd", compression_level=3)

    taken = interleave(
        {
            "decode": lambda: seconds(decode),
            "write": lambda: seconds(write),
            "decode and write": floor_of(texts),
        },
        options.repeats,
    )
    for name, time in taken.items():
        report.add(name, megabytes / time, "MB/s")
