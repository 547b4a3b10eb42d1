"""Values that lie by partition and row, brought into the order in which plans number documents.

The run's side index says of every document which row of which partition it is and which row of
which shard's index. Two sorts in bounded memory follow it: to the order of partitions, where values
are, and back to the order of shards, where plans read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from dataflow.external import Records, sorted_records
from dataflow.packedrows import packed_rows as rows_of
from dataflow.run import Run
from dataflow.sideindex import find_entries
from dataflow.steps.lookup import ABSENT
from mixtures.arrays import create_array, map_array
from mixtures.errors import PlanError, PlanRefused

_ENTRIES = 1 << 20

I64 = npt.NDArray[np.int64]


def shard_starts(run: Run) -> I64:
    """The number of the first document of each shard, then how many there are."""
    rows = []
    for shard in run.shards:
        output = shard.tokenize.outputs["index"]
        if output.rows is not None:
            rows.append(output.rows)
            continue
        with run.store.open(output.path) as stream:
            rows.append(pq.ParquetFile(stream).metadata.num_rows)
    found: I64 = np.cumsum([0, *rows], dtype=np.int64)
    return found


def document_number(run: Run, doc_id: str | bytes) -> int | None:
    """The number of a document by its id: 32 hexadecimal digits, or their bytes. None where the
    run dropped it.

    Raises
    ------
    PlanError
        If the run has read no such document.
    """
    try:
        key = bytes.fromhex(doc_id) if isinstance(doc_id, str) else doc_id
    except ValueError:
        key = b""
    found = find_entries(run, "documents", [key])[0] if len(key) == 16 else None
    if found is None or not len(found):
        raise PlanError(
            f"found document {doc_id!r}, expected the id of one that {run.store.uri} has read: 32 "
            "hexadecimal digits"
        )
    if found[0]["part"] == ABSENT:
        return None
    return int(shard_starts(run)[int(found[0]["part"])]) + int(found[0]["part_row"])


def packed_rows(run: Run, scratch: Path, memory_bytes: int) -> Iterator[tuple[I64, I64]]:
    """Of each partition of the run in turn: the rows that were packed, ascending, and the numbers
    of their documents. Memory: ``memory_bytes``, and 32 bytes a document of one partition."""
    return rows_of(
        run.store, run.lookup, shard_starts(run), len(run.partitions), scratch, memory_bytes
    )


def write_by_document(
    records: Iterable[Records],
    dtype: npt.DTypeLike,
    documents: int,
    empty: int | bytes,
    folder: Path,
    name: str,
    memory_bytes: int,
) -> npt.NDArray[Any]:
    """Values by the number of their document, as a mapped array ``folder/name.bin``.

    Parameters
    ----------
    records : fields ``document`` (int64) and ``value``, in any order, no document twice
    dtype : of values
    documents : length of the array
    empty : the value of documents that no record names

    Raises
    ------
    PlanRefused
        If a record names a document that there is not, or one twice.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    stop = 0
    with create_array(folder, name, "u1") as sink:

        def fill(start: int, end: int) -> None:
            for low in range(start, end, _ENTRIES):
                sink.add(np.full(min(_ENTRIES, end - low), empty, kind).view("u1"))

        for part in sorted_records(records, ("document",), folder, name, memory_bytes):
            numbers = part["document"]
            if numbers[0] < stop or numbers[-1] >= documents or (np.diff(numbers) < 1).any():
                raise PlanRefused(
                    "the run's side index and its index of documents do not agree; build it again"
                )
            fill(stop, int(numbers[0]))
            first, stop = int(numbers[0]), int(numbers[-1]) + 1
            values = np.full(stop - first, empty, kind)
            values[numbers - first] = part["value"]
            sink.add(values.view("u1"))
        fill(stop, documents)
    return map_array(folder, name, {"dtype": kind.str, "length": documents})
