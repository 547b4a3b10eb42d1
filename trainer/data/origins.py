"""Where a plan's documents come from: from their numbers to ids, sources and uris, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from dataflow.run import Run
from dataflow.sideindex import find_entries
from dataflow.steps.lookup import ABSENT
from trainer.data.errors import DataError


@dataclass(frozen=True)
class Origin:
    """A document: its number in the corpus, its id, and where it was read.

    ``doc_id`` is 32 hexadecimal digits, as ``python -m dataflow why`` takes them.
    """

    document: int
    doc_id: str
    source: str
    uri: str


def origins(run: Run, documents: Iterable[int]) -> dict[int, Origin]:
    """The origins of documents, by number.

    Reads the id and source columns of the index of each shard concerned, a stretch of the lookup
    file for each document, and the uri columns of the row groups concerned.

    Raises
    ------
    DataError
        If the run has no such document.
    """
    numbers = np.unique(np.array(list(documents), np.int64))
    starts = _shard_starts(run)
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < starts[-1]:
        raise DataError(
            f"{run.store.uri}: found documents {numbers[0]} to {numbers[-1]}, expected numbers "
            f"below {starts[-1]}"
        )
    named: dict[int, tuple[bytes, str]] = {}
    shards = np.searchsorted(starts, numbers, side="right") - 1
    for shard in np.unique(shards).tolist():
        index = run.table(run.shards[shard].tokenize, "index", ["doc_id", "source"])
        mine = numbers[shards == shard]
        rows = index.take(mine - starts[shard])
        for number, row in zip(mine.tolist(), rows.to_pylist(), strict=True):
            named[number] = (row["doc_id"], row["source"])
    uris = _uris(run, [doc_id for doc_id, _ in named.values()])
    return {
        number: Origin(number, doc_id.hex(), source, uris[doc_id])
        for number, (doc_id, source) in named.items()
    }


def document_number(run: Run, doc_id: str) -> int:
    """The number of the document with an id (32 hexadecimal digits).

    Raises
    ------
    DataError
        If the run has no such document, or dropped it.
    """
    entry = _entries(run, [bytes.fromhex(doc_id)])[0]
    if int(entry["part"]) == ABSENT:
        raise DataError(
            f"{run.store.uri}: document {doc_id} was dropped; `python -m dataflow why "
            f"{run.store.uri} {doc_id}` says why"
        )
    return int(_shard_starts(run)[int(entry["part"])]) + int(entry["part_row"])


def _shard_starts(run: Run) -> npt.NDArray[np.int64]:
    """The number of each shard's first document, and the end."""
    rows = [shard.tokenize.outputs["index"].rows or 0 for shard in run.shards]
    return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)


def _uris(run: Run, doc_ids: Sequence[bytes]) -> dict[bytes, str]:
    wanted: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for doc_id, entry in zip(doc_ids, _entries(run, doc_ids), strict=True):
        wanted[int(entry["partition"])].append((int(entry["row"]), doc_id))
    found = {}
    for partition, rows in wanted.items():
        path = run.partitions[partition].read.outputs["documents"].path
        with run.store.open(path) as stream:
            file = pq.ParquetFile(stream)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            groups: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
            for row, doc_id in rows:
                group = int(np.searchsorted(ends, row, side="right"))
                groups[group].append((row - int(ends[group]) + sizes[group], doc_id))
            for group, places in groups.items():
                column = file.read_row_group(group, columns=["uri"], use_threads=False)["uri"]
                found.update({doc_id: column[row].as_py() for row, doc_id in places})
    return found


def _entries(run: Run, doc_ids: Sequence[bytes]) -> list[Any]:
    """The lookup entries of ids, in their order."""
    found = []
    for doc_id, entries in zip(doc_ids, find_entries(run, "documents", doc_ids), strict=True):
        if not len(entries):
            raise DataError(f"{run.store.uri}: found no document {doc_id.hex()} in its lookup")
        found.append(entries[0])
    return found
