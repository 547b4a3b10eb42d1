"""The image-caption pairs of a run in blocks of work: each pair once, in the run's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dataflow.pictures import PictureReader
from dataflow.run import PartitionRecords, Run
from trainer.evaluation.caption_gains import ShownPair
from vl_data.reward.pairs import pairs_of

BLOCK = 256
"""Pairs of a block, at least; a partition with fewer is one block."""

_COLUMNS = [f"images.list.element.{name}" for name in ("digest", "pixels", "alt", "caption")]


@dataclass(frozen=True)
class PairBlock:
    """Pairs of one partition.

    Attributes:
        name: of the partition, and the block's number in it.
        pairs: none of which an earlier block has.
    """

    name: str
    pairs: tuple[ShownPair, ...]
    partition: PartitionRecords

    def images(self, run: Run) -> dict[bytes, bytes]:
        """The bytes of the pairs' images, by digest."""
        wanted = dict.fromkeys(pair.digest for pair in self.pairs)
        return dict(PictureReader(run.store, self.partition.read).each(wanted))


def blocks_of(run: Run) -> Iterator[PairBlock]:
    """All pairs of all documents that the run has read, kept or not.

    Memory: the captions of a partition, and the ids of all pairs before it (some 80 bytes each).
    """
    met: set[bytes] = set()
    for partition in run.partitions:
        if "images" not in partition.read.outputs:
            continue
        pairs = []
        for pair in _pairs(run, partition):
            if pair.id not in met:
                met.add(pair.id)
                pairs.append(pair)
        count = max(min(1, len(pairs)), len(pairs) // BLOCK)
        for number in range(count):
            mine = pairs[number * len(pairs) // count : (number + 1) * len(pairs) // count]
            yield PairBlock(f"{partition.name}-{number:05d}", tuple(mine), partition)


def _pairs(run: Run, partition: PartitionRecords) -> Iterator[ShownPair]:
    base = 0
    for group in run.groups(partition.read, "documents", _COLUMNS):
        found = pairs_of(group)
        ids = found.ids().tolist() if len(found) else []
        columns = (
            ids,
            found.row.tolist(),
            found.images.field("digest").to_pylist(),
            found.images.field("pixels").to_pylist(),
            found.caption.to_pylist(),
        )
        for pair, row, digest, pixels, caption in zip(*columns, strict=True):
            yield ShownPair(pair, base + row, digest, pixels, caption)
        base += group.num_rows
