"""The documents of one shard in shard order, a window of the order at a time.

Documents come from every partition in no order, and a shard may be larger than memory should be.
So they are dealt out to scratch files by stretches of the order's key; the keys are hashes, so the
stretches are about equal. Then one file after the other is read and sorted. Each text is read from
the exchange, and written to scratch, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataflow.shards import order_key, shard_order

WINDOW_BYTES = 8 << 20
"""Text that is sorted at a time, about."""
MOST_WINDOWS = 256
"""Each has an open file while documents are dealt out. Windows of larger shards are larger."""


def windows_in_order(
    tables: Iterable[pa.Table], seed: int, expected_bytes: int, scratch: Path
) -> Iterator[pa.Table]:
    """Yield the rows of ``tables`` in shard order, about ``WINDOW_BYTES`` of text at a time.

    Parameters
    ----------
    tables : of one schema, each with a column ``doc_id`` of binary(16)
    seed : of the order (``shard_order``)
    expected_bytes : of all text and images, about. It says how many windows there are, and changes
        no row and not their order.
    scratch : a folder for temporary files, which are gone when the last window was taken
    """
    count = min(max(1, -(-expected_bytes // WINDOW_BYTES)), MOST_WINDOWS)
    for path in _deal(tables, seed, count, scratch):
        # Nothing here keeps a window while the next one is read.
        yield _sorted(path, seed)
        path.unlink()


def _deal(tables: Iterable[pa.Table], seed: int, count: int, scratch: Path) -> list[Path]:
    """Deal the rows out to the files of ``count`` windows; returns those with rows, in order."""
    files: dict[int, Path] = {}
    with ExitStack() as stack:
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        for table in tables:
            window = _window(order_key(table["doc_id"], seed), count)
            for number in np.unique(window).tolist():
                part = table.filter(pa.array(window == number))
                if number not in writers:
                    files[number] = scratch / f"window-{number:05d}.arrow"
                    sink = stack.enter_context(pa.OSFile(str(files[number]), "wb"))
                    writers[number] = stack.enter_context(pa.ipc.new_stream(sink, table.schema))
                writers[number].write_table(part)
    return [files[number] for number in sorted(files)]


def _sorted(path: Path, seed: int) -> pa.Table:
    """The rows of a window's file in shard order."""
    with pa.OSFile(str(path), "rb") as source:
        table = pa.ipc.open_stream(source).read_all()
    return table.take(pa.array(shard_order(table["doc_id"], seed)))


def _window(keys: np.ndarray, count: int) -> np.ndarray:
    """The stretch that each key (uint64) lies in, of ``count`` below 2**32 equal ones."""
    high: np.ndarray = (keys >> np.uint64(32)) * np.uint64(count)
    return high >> np.uint64(32)
