"""The documents of a run as plans number them: the rows of its index, shard after shard.

Numbers hold for one logical root of a run. Held-out documents have numbers too, and no component.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataflow.lists import flat_list, list_sums
from dataflow.run import Run
from dataflow.shards import order_key
from dataflow.tables import INDEX, check_table, upgrade
from mixtures.errors import PlanRefused

TRAIN, HELD_OUT = "train", "heldout"
NO_COMPONENT = -1


@dataclass(frozen=True)
class ShardDocuments:
    """The index of one shard, in its order; ``first`` is the number of its first document."""

    shard: int
    first: int
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        return self.column("tokens")

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers."""
        found: npt.NDArray[Any] = self.table[name].to_numpy()
        return found

    @property
    def images(self) -> npt.NDArray[np.int64]:
        """How many images each document has."""
        return np.diff(flat_list(self.table["images"])[1])

    def expanded(self, tiling: str | None) -> npt.NDArray[np.int64]:
        """Tokens of each document as a model reads them: the features of its images by ``tiling``
        in the place of one token each. None counts one."""
        if tiling is None:
            return self.tokens
        return self.tokens - self.images + list_sums(self.table["images"], f"tokens_{tiling}")

    @property
    def trains(self) -> npt.NDArray[np.bool_]:
        """Which documents may train a model.

        Raises
        ------
        PlanRefused
            If a document is of no known split.
        """
        split = self.table["split"]
        unknown = set(pc.unique(split).to_pylist()) - {TRAIN, HELD_OUT}
        if unknown:
            raise PlanRefused(
                f"index of shard {self.shard}: found split {sorted(unknown)}, expected {TRAIN} or "
                f"{HELD_OUT}; build the run again"
            )
        mask: npt.NDArray[np.bool_] = pc.equal(split, TRAIN).to_numpy(zero_copy_only=False)
        return mask

    def one_of(self, column: str, values: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Which documents have one of some values in a column of text; null is none."""
        named = pc.is_in(self.table[column], value_set=pa.array(values, pa.string()))
        mask: npt.NDArray[np.bool_] = named.to_numpy(zero_copy_only=False)
        return mask

    def coded(self, column: str) -> tuple[list[str | None], npt.NDArray[np.int64]]:
        """The values of a column of text, and which of them each document has."""
        encoded = self.table[column].combine_chunks().dictionary_encode(null_encoding="encode")
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)

    def blocks(self, seed: int, together: int = 0) -> npt.NDArray[np.uint64]:
        """The key of each document's sample: a hash of the content of its first document.

        Documents of one sample lie side by side in the shard, so what is read together is kept
        together. With ``together`` samples that begin within as many tokens have one key.
        """
        members = self.table["member"].combine_chunks()
        if not len(members):
            return np.zeros(0, np.uint64)
        begins = np.ones(len(members), bool)
        begins[1:] = pc.not_equal(members[1:], members[:-1]).to_numpy(zero_copy_only=False)
        if together:
            firsts = np.flatnonzero(begins)
            stretch = (np.cumsum(self.tokens) - self.tokens)[firsts] // together
            begins[firsts[1:]] = stretch[1:] != stretch[:-1]
        keys = order_key(self.table["content_id"].filter(pa.array(begins)), seed)
        found: npt.NDArray[np.uint64] = keys[np.cumsum(begins) - 1]
        return found


def walk(run: Run, columns: list[str]) -> Iterator[ShardDocuments]:
    """The index of a run, one shard at a time.

    Raises
    ------
    TableError
        If a file is not an index of this format.
    """
    first = 0
    for number, shard in enumerate(run.shards):
        path = shard.index.outputs["index"].path
        with run.store.open(path) as stream:
            file = pq.ParquetFile(stream)
            check_table(file.schema_arrow, INDEX, path)
            there = [name for name in columns if name in file.schema_arrow.names]
            table = upgrade(file.read(there, use_threads=False), INDEX, columns)
        documents = ShardDocuments(number, first, table)
        yield documents
        first += len(documents)
