"""The images of documents as a model is shown them: read from content shards, decoded and tiled.

A token shard has one id an image, of the tokenizer's role ``image``. For a model an image takes as
many places as its tiling gives it features (newlines counted), all of which hold that id.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dataflow.run import Run
from dataflow.shards.marked import IMAGE_ROLE
from trainer.closing import Closing
from trainer.data.content import Content, DamagedImage, Placed
from trainer.data.corpus import Corpus
from trainer.data.errors import DataError
from trainer.vision.images import Images
from vl_data.decode import decode
from vl_data.pixels import tile_bytes
from vl_data.refusals import ImageRefused
from vl_data.tiling import Plan, plan, tiling_of

MOST_DECODERS = 16
"""Images that are decoded at once, at most."""


@dataclass(frozen=True)
class Picture:
    """An image of a document.

    Attributes
    ----------
    plan : how it is tiled
    tiles : uint8 [tiles, s, s, 3], the thumbnail first; None where images are not opened
    """

    plan: Plan
    tiles: npt.NDArray[np.uint8] | None


class Expanded(NamedTuple):
    """A document's ids with a place for each feature, and which from the second on carry loss."""

    ids: npt.NDArray[Any]
    carries: npt.NDArray[np.bool_]


class Pictures(Closing):
    """The images of a corpus's documents, by one tiling, read and decoded in threads.

    Parameters
    ----------
    corpus : with an index that knows of images
    tiling : a name of ``vl_data.tiling.TILINGS``
    opens : whether images are read: without, they have plans and no tiles, and no content shard is
        opened
    decoders : threads; by default as many as this rank's share of the cores it may run on

    Attributes
    ----------
    image_token : the tokenizer's id of an image

    Raises
    ------
    DataError
        If the corpus's tokenizer has no id for images.
    """

    def __init__(
        self, corpus: Corpus, tiling: str, *, opens: bool = True, decoders: int | None = None
    ) -> None:
        self.tiling = tiling_of(tiling)
        self.image_token = image_token_of(corpus.run)
        self._corpus = corpus
        self._content = Content(corpus, opens=opens)
        count = decoders_here() if decoders is None else decoders
        self._decoders = ThreadPoolExecutor(count, thread_name_prefix="images")

    def close(self) -> None:
        """End the threads; images that are not begun are dropped."""
        self._decoders.shutdown(cancel_futures=True)

    def check_soon(self, shards: Iterable[int]) -> bool:
        """Have content shards looked at before they are read (`Content.check_soon`)."""
        return self._content.check_soon(shards)

    def begin(self, shard: int, row: int) -> Callable[[], list[Picture]]:
        """Begin to read the images of the document in a row of a shard's index, in its order.

        Returns
        -------
        What waits for them. It raises DamagedImage if the shard is not what the run wrote, or an
        image cannot be decoded to what its index says.
        """
        try:
            placed = self._content.images(shard, row)
        except DamagedImage as error:
            damage = error

            def refuse() -> list[Picture]:
                raise damage

            return refuse
        run = self._corpus.run
        where = f"{run.store.uri}/{self._content.path(shard)}: image {{}} of row {row}"
        coming = [
            self._decoders.submit(self._picture, shard, one, where.format(number))
            for number, one in enumerate(placed)
        ]
        return lambda: [one.result() for one in coming]

    def of(self, shard: int, row: int) -> list[Picture]:
        """The images of a document; waits for them, and raises as `begin` says."""
        return self.begin(shard, row)()

    def _picture(self, shard: int, placed: Placed, where: str) -> Picture:
        laid = plan(placed.width, placed.height, self.tiling)
        if not self._content.opens:
            return Picture(laid, None)
        data = self._content.read(shard, placed, where)
        try:
            rgb = decode(data)
        except ImageRefused as error:
            raise DamagedImage(f"{where}: {error.reason}, {error.detail}") from error
        if rgb.shape[:2] != (placed.height, placed.width):
            raise DamagedImage(
                f"{where}: found {rgb.shape[1]} x {rgb.shape[0]} pixels, expected {placed.width} x "
                f"{placed.height} as its index says"
            )
        return Picture(laid, tile_bytes(rgb, laid, self.tiling))


def decoders_here() -> int:
    """This rank's share of the cores that it may run on, as torchrun counts ranks of a node."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_DECODERS, len(os.sched_getaffinity(0)) // ranks))


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
    """The images of a micro-batch, tiles as bytes; None where there is none or none was opened."""
    tiles = [picture.tiles for picture in pictures if picture.tiles is not None]
    if not tiles:
        return None
    return Images(torch.from_numpy(np.concatenate(tiles)), tuple(p.plan for p in pictures))
