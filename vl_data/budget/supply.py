"""What a run's index holds for training, by source and tier, as each stage would read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vl_data.runs.errors import RunRefused
from vl_data.runs.folder import RunFolder
from vl_data.tiling import token_counts

I64 = NDArray[np.int64]


@dataclass
class Held:
    """Documents of one source and tier, of those that fit into the stage's sequences.

    ``text_tokens`` and ``image_tokens`` are as a model reads them; ``left_out`` documents have
    images and are longer than a sequence.
    """

    documents: int = 0
    pictured: int = 0
    images: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    left_out: int = 0

    @property
    def tokens(self) -> int:
        """Of text and images."""
        return self.text_tokens + self.image_tokens

    def __add__(self, other: Held) -> Held:
        return Held(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class View:
    """How a stage reads documents: by which tiling, and into sequences of how many tokens."""

    tiling: str
    length: int


Supply = dict[View, dict[tuple[str, str], Held]]
"""By view, then by (source, tier)."""

_COLUMNS = ["source", "tier", "split", "tokens"]
_IMAGES = "images.list.element."


def count_supply(run: RunFolder, views: Sequence[View]) -> Supply:
    """Count the train documents of a run. Memory: the index of one shard.

    Raises
    ------
    RunRefused
        If the run has no image, or its index is from before images.
    """
    supply: Supply = {view: {} for view in views}
    documents = images = 0
    before = True
    counts = {f"tokens_{view.tiling}" for view in views}
    fields = [_IMAGES + name for name in ("width", "height", *sorted(counts))]
    for _, table in run.index([*_COLUMNS, *fields]):
        documents += table.num_rows
        before &= "images" not in table.column_names
        table = table.filter(pc.equal(table["split"], "train"))
        of, shown = _images(table)
        images += len(of)
        for view in supply:
            _count(supply[view], table, of, view, shown)
    if not images:
        found = "an index of version 1, which knows no images" if before else "no image"
        raise RunRefused(
            f"{run.uri}: found {found} in {documents:,} documents, expected a run with images; "
            "build it from sources that have some, such as format `image-text` or `llava`, or "
            "kind `synthesised`"
        )
    return supply


def _images(table: pa.Table) -> tuple[I64, pa.StructArray]:
    """Of all images: the row of their document, and what the index says of them."""
    if "images" not in table.column_names:
        return np.zeros(0, np.int64), pa.array([], pa.struct({"width": "i4", "height": "i4"}))
    lists = table["images"].combine_chunks()
    return np.asarray(pc.list_parent_indices(lists), np.int64), lists.flatten()


def _features(shown: pa.StructArray, tiling: str) -> NDArray[np.int32]:
    """As the index counts them; by their sizes where it is from before the tiling."""
    name = f"tokens_{tiling}"
    if name in [field.name for field in shown.type]:
        return np.asarray(shown.field(name))
    widths, heights = (np.asarray(shown.field(side)) for side in ("width", "height"))
    return token_counts(widths, heights, tiling)


def _count(
    held: dict[tuple[str, str], Held],
    table: pa.Table,
    of: I64,
    view: View,
    shown: pa.StructArray,
) -> None:
    rows = table.num_rows
    count = np.bincount(of, minlength=rows)
    seen = np.bincount(of, _features(shown, view.tiling), rows).astype(np.int64)
    text = table["tokens"].to_numpy() - count
    out = (count > 0) & (text + seen > view.length)
    source, tier = (table[name].combine_chunks().dictionary_encode() for name in ("source", "tier"))
    group = source.indices.to_numpy() * len(tier.dictionary) + tier.indices.to_numpy()
    for number in np.unique(group).tolist():
        mine = group == number
        fits = mine & ~out
        pictured, images, said, features = (
            int(values[fits].sum()) for values in (count > 0, count, text, seen)
        )
        left_out = int((mine & out).sum())
        found = Held(int(fits.sum()), pictured, images, said, features, left_out)
        first, second = divmod(number, len(tier.dictionary))
        key = source.dictionary[first].as_py(), tier.dictionary[second].as_py()
        held[key] = held.get(key, Held()) + found
