"""The images of documents as a model is shown them: read from content shards, decoded and tiled.

A token shard has one id an image, of the tokenizer's role ``image``. For a model an image takes as
many places as its tiling gives it features (newlines counted), all of which hold that id.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import blake3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from dataflow.run import Run
from dataflow.shards.marked import IMAGE_ROLE
from dataflow.store import Store
from trainer.data.errors import DataError
from trainer.vision.images import Images
from vl_data.decode import decode
from vl_data.pixels import normalise, tile_bytes
from vl_data.refusals import ImageRefused
from vl_data.tiling import Plan, plan, tiling_of

INDEXES = 8
"""Shards whose index is kept in memory."""
_BLOCK = 1 << 20


class DamagedImage(Exception):
    """An image of a document is not what the run stored; says which, and what is wrong."""


@dataclass(frozen=True)
class Picture:
    """An image of a document.

    Attributes
    ----------
    plan : how it is tiled
    tiles : uint8 [tiles, s, s, 3], the thumbnail first
    """

    plan: Plan
    tiles: npt.NDArray[np.uint8]


class Expanded(NamedTuple):
    """A document's ids with a place for each feature, and which from the second on carry loss."""

    ids: npt.NDArray[Any]
    carries: npt.NDArray[np.bool_]


class Pictures:
    """The images of a run's documents, by one tiling. One thread at a time may use it.

    Parameters
    ----------
    run : with an index of version 2
    tiling : a name of ``vl_data.tiling.TILINGS``
    check_hash : read each content shard that is asked for once, and compare its BLAKE3

    Attributes
    ----------
    image_token : the tokenizer's id of an image

    Raises
    ------
    DataError
        If the run's tokenizer has no id for images.
    """

    def __init__(self, run: Run, tiling: str, *, check_hash: bool = True) -> None:
        self.run = run
        self.tiling = tiling_of(tiling)
        self.image_token = image_token_of(run)
        self._check_hash = check_hash
        self._rows: OrderedDict[int, pa.ListArray] = OrderedDict()
        self._damage: dict[int, str] = {}

    def of(self, shard: int, row: int) -> list[Picture]:
        """The images of the document in a row of a shard's index, in its order.

        Raises
        ------
        DamagedImage
            If the shard is not what the run wrote, or an image cannot be decoded to what its index
            says.
        """
        placed = self._images(shard)[row].as_py()
        if not placed:
            return []
        path = self.run.shards[shard].pack.outputs["shard"].path
        self._check(shard)
        found = []
        with self.run.store.open(path) as file:
            for number, image in enumerate(placed):
                where = f"{self.run.store.uri}/{path}: image {number} of row {row}"
                found.append(self._picture(file, image, where))
        return found

    def _picture(self, file: Any, placed: dict[str, int], where: str) -> Picture:
        size, offset = placed["bytes"], placed["offset"]
        try:
            data = file.read_at(size, offset)
        except (OSError, pa.ArrowException) as error:
            raise DamagedImage(f"{where} cannot be read ({error})") from error
        if len(data) != size:
            raise DamagedImage(f"{where}: found {len(data)} bytes at {offset}, expected {size}")
        try:
            rgb = decode(data)
        except ImageRefused as error:
            raise DamagedImage(f"{where}: {error.reason}, {error.detail}") from error
        width, height = placed["width"], placed["height"]
        if rgb.shape[:2] != (height, width):
            raise DamagedImage(
                f"{where}: found {rgb.shape[1]} x {rgb.shape[0]} pixels, expected {width} x "
                f"{height} as its index says"
            )
        laid = plan(width, height, self.tiling)
        return Picture(laid, tile_bytes(rgb, laid, self.tiling))

    def _images(self, shard: int) -> pa.ListArray:
        rows = self._rows.pop(shard, None)
        if rows is None:
            record = self.run.shards[shard].tokenize
            rows = self.run.table(record, "index")["images"].combine_chunks()
        self._rows[shard] = rows
        if len(self._rows) > INDEXES:
            self._rows.popitem(last=False)
        return rows

    def _check(self, shard: int) -> None:
        """Look once whether a content shard is what the run wrote."""
        if shard not in self._damage:
            self._damage[shard] = self._damage_of(shard)
        if self._damage[shard]:
            raise DamagedImage(self._damage[shard])

    def _damage_of(self, shard: int) -> str:
        output, store = self.run.shards[shard].pack.outputs["shard"], self.run.store
        where = f"{store.uri}/{output.path}"
        try:
            size = store.size(output.path)
            if size is None:
                return f"{where} is not there"
            if size != output.bytes:
                return f"{where}: found {size:,} bytes, expected {output.bytes:,}"
            if self._check_hash and (found := _blake3(store, output.path)) != output.blake3:
                return f"{where}: found BLAKE3 {found[:16]}…, expected {output.blake3[:16]}…"
        except (OSError, pa.ArrowException) as error:
            return f"{where} cannot be read ({error})"
        return ""


def image_token_of(run: Run) -> int:
    """The id of a run's tokenizer that stands for an image.

    Raises
    ------
    DataError
        If it has none.
    """
    specials = run.tokenizer.stats["specials"]
    if IMAGE_ROLE not in specials:
        raise DataError(
            f"{run.store.uri}: found a tokenizer with specials {', '.join(sorted(specials))}, "
            f"expected one of role {IMAGE_ROLE!r}; train one, or take it in with "
            "`python -m dataflow tokenizer use`, and retokenize the run"
        )
    return int(specials[IMAGE_ROLE])


def expand(
    ids: npt.NDArray[Any],
    carries: npt.NDArray[np.bool_] | None,
    tokens: Sequence[int],
    image_token: int,
) -> Expanded:
    """Give each image of a document its places.

    Parameters
    ----------
    ids : [n], one ``image_token`` an image
    carries : bool [n - 1], whether the ids from the second on carry loss; None: all do
    tokens : places of each image

    Returns
    -------
    The ids [m], m = n + Σ (tokens - 1), and bool [m - 1]: as before, and never of an image.

    Raises
    ------
    ValueError
        If there are not as many images as ids of them.
    """
    shown = ids == image_token
    if int(shown.sum()) != len(tokens):
        raise ValueError(
            f"found {int(shown.sum())} ids of images, expected {len(tokens)} as its index has"
        )
    times = np.ones(len(ids), np.int64)
    times[shown] = tokens
    takes = ~shown
    if carries is not None:
        takes[1:] &= carries
    return Expanded(np.repeat(ids, times), np.repeat(takes, times)[1:])


def images_of(pictures: Sequence[Picture]) -> Images | None:
    """The images of a micro-batch, float32 tiles normalised; None where there is none."""
    if not pictures:
        return None
    tiles = np.concatenate([picture.tiles for picture in pictures])
    return Images(torch.from_numpy(normalise(tiles)), tuple(p.plan for p in pictures))


def _blake3(store: Store, path: str) -> str:
    digest = blake3.blake3()
    with store.open(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return str(digest.hexdigest())
