"""The sets of a run's shards: each side of the split, without and with images.

Documents with images never share a shard with others: what reads text alone need not step over
images, and a shard of images is cut by their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataflow.shards.content import shard_name

SIDES = ("train", "heldout")
"""Of the split, by code."""


@dataclass(frozen=True)
class ShardSet:
    """The shards of documents of one side that do, or do not, have images."""

    split: str
    pictured: bool

    def shard(self, number: int) -> str:
        """The name of a shard: ``train-000000``, ``train-vl-000000``."""
        return shard_name(f"{self.split}-vl" if self.pictured else self.split, number)


SETS = tuple(ShardSet(split, pictured) for pictured in (False, True) for split in SIDES)
"""By code: those of text alone have the codes of their splits."""

PICTURED = len(SIDES)
"""What a document with images adds to the code of its split."""
