"""The rows of partitions that were packed, and their documents' places in the order of the index.

The side index says of every document which row of which partition it is and which row of which
shard's index. A sort in bounded memory turns it to the order of partitions, where values are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataflow.external import Records, sorted_records
from dataflow.journal import Record
from dataflow.steps.lookup import ABSENT, ENTRY
from dataflow.store import Store

_PLACED = np.dtype([("partition", "u4"), ("row", "u4"), ("document", "i8")])
_ENTRIES = 1 << 20

I64 = NDArray[np.int64]


def packed_rows(
    store: Store,
    lookup: Record,
    starts: I64,
    partitions: int,
    scratch: Path,
    memory_bytes: int,
) -> Iterator[tuple[I64, I64]]:
    """Of each partition in turn: the rows that were packed, ascending, and the numbers of their
    documents. Memory: ``memory_bytes``, and 32 bytes a document of one partition.

    Parameters
    ----------
    lookup : the record of the step of that name
    starts : the number of the first document of each shard
    """
    ahead = np.zeros(0, _PLACED)
    parts = sorted_records(
        _placed(store, lookup, starts),
        ("partition", "row", "document"),
        scratch,
        "rows",
        memory_bytes,
    )
    for number in range(partitions):
        held = [ahead]
        while not len(held[-1]) or held[-1]["partition"][-1] <= number:
            more = next(parts, None)
            if more is None:
                break
            held.append(more)
        ahead = np.concatenate(held)
        cut = int(np.searchsorted(ahead["partition"], number, side="right"))
        mine, ahead = ahead[:cut], ahead[cut:]
        yield mine["row"].astype(np.int64), mine["document"].astype(np.int64)


def _placed(store: Store, lookup: Record, starts: I64) -> Iterator[Records]:
    yield np.zeros(0, _PLACED)  # or without any the sort would not know the records' type
    with store.open(lookup.outputs["documents"].path) as stream:
        while data := stream.read(_ENTRIES * ENTRY.itemsize):
            entries = np.frombuffer(data, ENTRY)
            entries = entries[entries["part"] != ABSENT]
            found = np.empty(len(entries), _PLACED)
            found["partition"], found["row"] = entries["partition"], entries["row"]
            found["document"] = starts[entries["part"].astype(np.int64)] + entries["part_row"]
            yield found
