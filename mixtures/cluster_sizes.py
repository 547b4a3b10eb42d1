"""How many documents the near-duplicate cluster of each document has.

Counted over the ledger: every document that was read and that names the cluster, whether it was
kept or dropped as a copy. Exact copies are members as well. A document without a cluster is alone.
What a rule dropped before copies were looked for names no cluster and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.external import Records, sorted_records
from dataflow.run import Run
from dataflow.steps.columns import id_words
from mixtures.documents import walk
from mixtures.rows import shard_starts, write_by_document

_MEMBER = np.dtype([("high", "u8"), ("low", "u8"), ("packed", "u1"), ("number", "i8")])
"""A row of the ledger (``packed`` 0), or, behind those, a document of the index."""
_SIZED = np.dtype([("document", "i8"), ("value", "i4")])


def write_cluster_sizes(run: Run, scratch: Path, memory_bytes: int) -> npt.NDArray[np.int32]:
    """Cluster sizes by document number, int32, mapped. Memory: ``memory_bytes`` for each of two
    sorts, and the largest cluster."""
    documents = int(shard_starts(run)[-1])
    return write_by_document(
        _sized(run, scratch, memory_bytes), "i4", documents, 1, scratch, "sizes", memory_bytes
    )


def _sized(run: Run, scratch: Path, memory_bytes: int) -> Iterator[Records]:
    yield np.zeros(0, _SIZED)
    ahead = np.zeros(0, _MEMBER)
    for part in sorted_records(
        _members(run), ("high", "low", "packed", "number"), scratch, "clusters", memory_bytes
    ):
        joined = np.concatenate([ahead, part])
        if not len(joined):
            continue
        begins = np.flatnonzero(_begins(joined))
        ahead = joined[begins[-1] :].copy()
        yield _of_groups(joined[: begins[-1]])
    yield _of_groups(ahead)


def _begins(members: Records) -> npt.NDArray[np.bool_]:
    """Where a cluster begins, in order."""
    found = np.ones(len(members), bool)
    found[1:] = (members["high"][1:] != members["high"][:-1]) | (
        members["low"][1:] != members["low"][:-1]
    )
    return found


def _of_groups(members: Records) -> Records:
    """The size of its cluster for each document of the index, of whole clusters."""
    group = np.cumsum(_begins(members)) - 1
    is_packed = members["packed"] == 1
    sizes = np.bincount(group[~is_packed], minlength=int(group[-1]) + 1 if len(group) else 0)
    found = np.empty(int(is_packed.sum()), _SIZED)
    found["document"] = members["number"][is_packed]
    # A cluster that the ledger does not have has the documents that name it.
    found["value"] = np.maximum(sizes[group[is_packed]], 1)
    return found


def _members(run: Run) -> Iterator[Records]:
    yield np.zeros(0, _MEMBER)
    row = 0
    for partition in run.partitions:
        for table in run.groups(partition.settle, "dispositions", ["cluster"]):
            yield _named(table["cluster"], row, 0)
            row += table.num_rows
    for shard in walk(run, ["cluster"]):
        yield _named(shard.table["cluster"], shard.first, 1)


def _named(clusters: pa.ChunkedArray, first: int, packed: int) -> Records:
    """Records of the rows that have a cluster; ``first`` is the number of the first row."""
    there = pc.is_valid(clusters)
    found = np.empty(pc.sum(there).as_py() or 0, _MEMBER)
    found["high"], found["low"] = id_words(clusters.filter(there))
    found["packed"] = packed
    found["number"] = first + np.flatnonzero(there.to_numpy(zero_copy_only=False))
    return found
