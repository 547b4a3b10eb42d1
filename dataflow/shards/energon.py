"""The metadata with which megatron-energon (7.4) loads a shard set in place, without ``prepare``.

Beside the shards: ``NAME.tar.idx`` (where each sample begins), and in ``.nv-meta/`` the number of
samples in each shard, the split (held-out documents are energon's ``val``) and the sample type:
crude samples, that is dictionaries of members. ``index.sqlite``, which only joins and random
access by key need, is left to ``energon prepare``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from dataflow.shards.tar import skim_members

FOLDER = ".nv-meta"
PARTS = {"train": "train", "heldout": "val"}
"""What energon calls each split."""


@dataclass(frozen=True)
class ShardSamples:
    """Where the samples of one shard begin.

    Attributes
    ----------
    name : str
        Of the shard, without suffix.
    split : str
        ``train`` or ``heldout``.
    offsets : uint64 array, (samples + 1,)
        The offset of each sample's first header in the tar; last, of the end of the last one.
    """

    name: str
    split: str
    offsets: npt.NDArray[np.uint64]

    @property
    def idx(self) -> bytes:
        """The bytes of ``NAME.tar.idx``."""
        return self.offsets.astype("<u8").tobytes()


def find_samples(source: Any, name: str, split: str) -> ShardSamples:
    """Find the samples of a shard, content or tokens, by its headers alone.

    Parameters
    ----------
    source : seekable binary file
    name, split : str
        As in `ShardSamples`.

    Raises
    ------
    ShardError
        If the tar is damaged.
    """
    offsets = []
    last = None
    end = 0
    for member, start, size in skim_members(source, name):
        key = member.partition(".")[0]
        if key != last:
            offsets.append(start)
        last = key
        end = start + size
    return ShardSamples(name, split, np.array([*offsets, end], dtype=np.uint64))


def energon_files(shards: Iterable[ShardSamples]) -> dict[str, bytes]:
    """Every metadata file of a shard set: path in the set's folder, and bytes.

    Shards without a sample are left out: energon takes none.
    """
    filled = [shard for shard in shards if len(shard.offsets) > 1]
    files = {f"{shard.name}.tar.idx": shard.idx for shard in filled}
    counts = {f"{shard.name}.tar": len(shard.offsets) - 1 for shard in filled}
    parts = {
        part: [f"{shard.name}.tar" for shard in filled if shard.split == split]
        for split, part in PARTS.items()
    }
    # JSON is YAML, and has one spelling.
    files[f"{FOLDER}/.info.json"] = orjson.dumps({"shard_counts": counts}) + b"\n"
    files[f"{FOLDER}/split.yaml"] = orjson.dumps({"split_parts": parts, "exclude": []}) + b"\n"
    files[f"{FOLDER}/dataset.yaml"] = (
        orjson.dumps({"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}) + b"\n"
    )
    return files
