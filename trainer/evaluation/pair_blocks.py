"""The image-caption pairs of a run in blocks of work: each pair once, in the run's order.

Blocks go on over the ends of partitions: what is read at once does not hang on how a corpus is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dataflow.run import PartitionRecords, Run
from trainer.evaluation.caption_gains import ShownPair
from trainer.evaluation.other_images import images_in
from vl_data.reward.pairs import pairs_of

BLOCK = 256
"""Pairs of a block; the last one may have fewer."""

_COLUMNS = [f"images.list.element.{name}" for name in ("digest", "pixels", "alt", "caption")]


@dataclass(frozen=True)
class PairBlock:
    """Pairs, none of which an earlier block has.

    Attributes:
        name: the block's number.
        parts: the partitions that the pairs are of, in their order, with the digests of the images.
    """

    name: str
    pairs: tuple[ShownPair, ...]
    parts: tuple[tuple[PartitionRecords, tuple[bytes, ...]], ...]

    def images(self, run: Run) -> dict[bytes, bytes]:
        """The bytes of the pairs' images, by digest."""
        return {
            digest: data
            for partition, digests in self.parts
            for digest, data in images_in(run, partition, digests)
        }


def blocks_of(run: Run) -> Iterator[PairBlock]:
    """All pairs of all documents that the run has read, kept or not.

    Memory: the captions of a row group, and the ids of all pairs before it (some 80 bytes each).
    """
    met: set[bytes] = set()
    pairs: list[ShownPair] = []
    places: list[int] = []
    number = 0
    for place, partition in enumerate(run.partitions):
        if "images" not in partition.read.outputs:
            continue
        for pair in _pairs(run, partition):
            if pair.id in met:
                continue
            met.add(pair.id)
            pairs.append(pair)
            places.append(place)
            if len(pairs) == BLOCK:
                yield _block(run, number, pairs, places)
                pairs, places, number = [], [], number + 1
    if pairs:
        yield _block(run, number, pairs, places)


def _block(run: Run, number: int, pairs: list[ShownPair], places: list[int]) -> PairBlock:
    digests: dict[int, list[bytes]] = {}
    for pair, place in zip(pairs, places, strict=True):
        digests.setdefault(place, []).append(pair.digest)
    parts = tuple((run.partitions[place], tuple(found)) for place, found in digests.items())
    return PairBlock(f"{number:08d}", tuple(pairs), parts)


def _pairs(run: Run, partition: PartitionRecords) -> Iterator[ShownPair]:
    for group in run.groups(partition.read, "documents", _COLUMNS):
        found = pairs_of(group)
        ids = found.ids().tolist() if len(found) else []
        columns = (
            ids,
            found.images.field("digest").to_pylist(),
            found.images.field("pixels").to_pylist(),
            found.caption.to_pylist(),
        )
        for pair, digest, pixels, caption in zip(*columns, strict=True):
            yield ShownPair(pair, digest, pixels, caption)
