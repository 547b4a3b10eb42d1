"""Sizes of duplicate clusters in bounded memory, and the largest ones with their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataflow.report.inputs import ReportInputs, aligned, batches, id_halves
from dataflow.report.pools import Pool, Rows

MEMBERS = 3
"""Members of a cluster that are compared with their survivor."""


class ClusterSizes:
    """Counts documents per cluster for at most ``limit`` clusters.

    When there are more clusters, those whose key lies in the lower half of the key space stay, then
    the lowest quarter, and so on: keys are hashes, so this is a fair sample, and which clusters are
    in it depends on the corpus alone. ``sampled`` is one in how many.
    """

    def __init__(self, limit: int = 1 << 21) -> None:
        self.limit = limit
        self.sampled = 1
        self._keys = np.zeros(0, np.uint64)
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[NDArray[np.uint64]] = []
        self._waiting_rows = 0

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Count one document for each key (the first eight bytes of a cluster's id)."""
        if len(keys):
            self._waiting.append(keys)
            self._waiting_rows += len(keys)
            if self._waiting_rows > self.limit // 2:
                self._merge()

    def _merge(self) -> None:
        keys, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        keys = np.concatenate([self._keys, keys])
        counts = np.concatenate([self._counts, counts])
        self._keys, back = np.unique(keys, return_inverse=True)
        self._counts = np.zeros(len(self._keys), np.int64)
        np.add.at(self._counts, back, counts)
        self._waiting, self._waiting_rows = [], 0
        while True:
            below = self._keys <= np.uint64((1 << 64) // self.sampled - 1)
            self._keys, self._counts = self._keys[below], self._counts[below]
            if len(self._keys) <= self.limit:
                return
            self.sampled *= 2

    def finish(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Keys and sizes, largest first, equal sizes by key."""
        if self._waiting:
            self._merge()
        order = np.lexsort((self._keys, -self._counts))
        return self._keys[order], self._counts[order]


@dataclass
class Cluster:
    """A cluster to show: some dropped members, each with the survivor it was dropped for."""

    key: int
    size: int
    pool: Pool = field(default_factory=lambda: Pool(MEMBERS * 4))
    survivors: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """The survivor of each pooled member, by ids."""


@dataclass(frozen=True)
class Place:
    """Where a document lies: the partition's position in the inputs, and its row."""

    partition: int
    row: int


def gather_members(
    inputs: ReportInputs, near: Sequence[Cluster], copies: Sequence[Cluster]
) -> dict[tuple[int, int], Place]:
    """Fill the pools of the chosen clusters; return where their members' survivors lie.

    ``near`` clusters are keyed by ``cluster``, groups of exact ``copies`` by ``content_id``.
    """
    near_keys, copy_keys = _table_of(near), _table_of(copies)
    if not near_keys and not copy_keys:
        return {}
    for number, partition in enumerate(inputs.partitions):
        first = 0
        files = {
            partition.documents: ["content_id"],
            partition.dispositions: ["doc_id", "cluster", "survivor", "value"],
        }
        for table in aligned(inputs, files):
            contents = id_halves(table.column("content_id"))
            cluster = id_halves(table.column("cluster"))[:, 0]
            survivor = id_halves(table.column("survivor"))
            dropped = survivor.any(axis=1)
            # Only near duplicates have a value: the Jaccard similarity to their survivor.
            verified = np.asarray(table.column("value").is_valid()) & dropped
            rows = Rows(number, first, id_halves(table.column("doc_id")), contents)
            for keys, clusters, chosen in (
                (cluster, near_keys, verified),
                (contents[:, 0], copy_keys, dropped & ~verified),
            ):
                wanted = chosen & np.isin(keys, np.fromiter(clusters, np.uint64, len(clusters)))
                for key in np.unique(keys[wanted]):
                    _offer(
                        clusters[int(key)], rows, np.flatnonzero(wanted & (keys == key)), survivor
                    )
            first += table.num_rows
    needed = {
        pair
        for cluster_ in near
        for pick in cluster_.pool.picks
        if (pair := cluster_.survivors.get((int(pick["hi"]), int(pick["lo"])))) is not None
    }
    return _find(inputs, needed)


def _table_of(clusters: Sequence[Cluster]) -> dict[int, Cluster]:
    return {cluster.key: cluster for cluster in clusters}


def _offer(
    cluster: Cluster, rows: Rows, index: NDArray[np.int64], survivor: NDArray[np.uint64]
) -> None:
    cluster.pool.offer(rows, index, np.zeros(len(index)))
    pooled = {(int(pick["hi"]), int(pick["lo"])) for pick in cluster.pool.picks}
    for i in index:
        pair = (int(rows.doc_ids[i, 0]), int(rows.doc_ids[i, 1]))
        if pair in pooled:
            cluster.survivors[pair] = (int(survivor[i, 0]), int(survivor[i, 1]))
    cluster.survivors = {k: v for k, v in cluster.survivors.items() if k in pooled}


def _find(inputs: ReportInputs, needed: set[tuple[int, int]]) -> dict[tuple[int, int], Place]:
    places: dict[tuple[int, int], Place] = {}
    high = np.array(sorted({hi for hi, _ in needed}), np.uint64)
    for number, partition in enumerate(inputs.partitions):
        if len(places) == len(needed):
            break
        first = 0
        for batch in batches(inputs, partition.dispositions, ["doc_id"]):
            ids = id_halves(batch.column("doc_id"))
            for i in np.flatnonzero(np.isin(ids[:, 0], high)):
                pair = (int(ids[i, 0]), int(ids[i, 1]))
                if pair in needed:
                    places[pair] = Place(number, first + int(i))
            first += batch.num_rows
    return places


@dataclass(frozen=True)
class Document:
    """A sampled document, its text cut to a bounded length."""

    doc_id: str
    source: str
    uri: str
    media_type: str
    text: str
    truncated: bool


def fetch(inputs: ReportInputs, places: set[Place], limit: int) -> dict[Place, Document]:
    """Read the documents at ``places``, at most ``limit`` characters of each.

    Only the row groups that hold one are read, and of these one small batch at a time.
    """
    wanted: dict[int, list[int]] = {}
    for place in places:
        wanted.setdefault(place.partition, []).append(place.row)
    found: dict[Place, Document] = {}
    for number in sorted(wanted):
        rows = np.array(sorted(wanted[number]))
        with inputs.open(inputs.partitions[number].documents) as stream:
            file = pq.ParquetFile(stream)
            first = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                here = rows[(rows >= first) & (rows < first + size)]
                if len(here):
                    _fetch_group(file, group, first, here, number, limit, found)
                first += size
    return found


def _fetch_group(
    file: pq.ParquetFile,
    group: int,
    first: int,
    rows: NDArray[np.int64],
    number: int,
    limit: int,
    found: dict[Place, Document],
) -> None:
    columns = ["doc_id", "source", "uri", "media_type", "text"]
    for batch in file.iter_batches(
        batch_size=1024, row_groups=[group], columns=columns, use_threads=False
    ):
        for row in rows[(rows >= first) & (rows < first + batch.num_rows)]:
            i = int(row) - first
            text = batch.column("text")[i].as_py()
            found[Place(number, int(row))] = Document(
                batch.column("doc_id")[i].as_py().hex(),
                batch.column("source")[i].as_py(),
                batch.column("uri")[i].as_py(),
                batch.column("media_type")[i].as_py(),
                text[:limit],
                len(text) > limit,
            )
        first += batch.num_rows
