"""The images of documents as a model is shown them: read from content shards, decoded and tiled.

A token shard has one id an image, of the tokenizer's role ``image``. For a model an image takes as
many places as its tiling gives it features (newlines counted), all of which hold that id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dataflow.run import Run
from dataflow.shards.marked import IMAGE_ROLE
from trainer.closing import Closing
from trainer.data.content import Content, DamagedImage, Placed
from trainer.data.corpus import Corpus
from trainer.data.decoders import ProcessDecoders, ThreadDecoders, decoders_here, parts_of
from trainer.data.decoding import U8, Ask
from trainer.data.errors import DataError
from trainer.vision.images import Images
from vl_data.tiling import Plan, plan, tiling_of

_plan = lru_cache(1 << 14)(plan)


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


class _Coming(NamedTuple):
    """A document's images, of which the first is that of the asked ones, and what to call them."""

    placed: list[Placed]
    first: int
    where: str


class Pictures(Closing):
    """The images of a corpus's documents, by one tiling, read and decoded several at once.

    Parameters
    ----------
    corpus : with an index that knows of images
    tiling : a name of ``vl_data.tiling.TILINGS``
    opens : whether images are read: without, they have plans and no tiles, and no content shard is
        opened
    decoders : how many are decoded at once; by default as many as this rank's share of the cores it
        may run on
    processes : whether processes decode, as is good beside a GPU (`trainer.data.decoders`), or
        threads

    Attributes
    ----------
    image_token : the tokenizer's id of an image

    Raises
    ------
    DataError
        If the corpus's tokenizer has no id for images.
    """

    def __init__(
        self,
        corpus: Corpus,
        tiling: str,
        *,
        opens: bool = True,
        decoders: int | None = None,
        processes: bool = False,
    ) -> None:
        self.tiling = tiling_of(tiling)
        self.image_token = image_token_of(corpus.run)
        self._corpus = corpus
        self._content = Content(corpus, opens=opens)
        self._local = str(corpus.run.store.local or "")
        # A process does not wait as threads do, and training has a core to itself.
        count = decoders_here(beside=int(processes)) if decoders is None else decoders
        made = ProcessDecoders if processes else ThreadDecoders
        self._decoders = made(self.tiling, self._fetch, count)

    def close(self) -> None:
        """End the decoders; images that are not begun are dropped."""
        self._decoders.close()

    def check_soon(self, shards: Iterable[int]) -> bool:
        """Have content shards looked at before they are read (`Content.check_soon`)."""
        return self._content.check_soon(shards)

    def begin(self, documents: Sequence[tuple[int, int]]) -> list[Callable[[], list[Picture]]]:
        """Begin to read the images of documents, each named by a shard and a row of its index.

        Returns
        -------
        For each document what waits for its images, in their order. It raises DamagedImage if the
        shard is not what the run wrote, or an image cannot be decoded to what its index says.
        """
        found: list[_Coming | DamagedImage] = []
        asks: list[Ask] = []
        for shard, row in documents:
            try:
                placed = self._content.images(shard, row)
            except DamagedImage as error:
                found.append(error)
                continue
            path = self._content.path(shard)
            where = f"{self._corpus.run.store.uri}/{path}: image {{}} of row {row}"
            found.append(_Coming(placed, len(asks), where))
            local = self._local and f"{self._local}/{path}"
            asks += [Ask(*one, local, shard) for one in placed]
        parts: list[tuple[range, Future[list[U8 | str]]]] = []
        if self._content.opens:
            parts = [(p, self._decoders.submit(asks[p.start : p.stop])) for p in parts_of(asks)]
        of_ask = {n: (part.start, tiles) for part, tiles in parts for n in part}

        def pictures(coming: _Coming | DamagedImage) -> list[Picture]:
            if isinstance(coming, DamagedImage):
                raise coming
            laid = [_plan(one.width, one.height, self.tiling) for one in coming.placed]
            if not self._content.opens:
                return [Picture(one, None) for one in laid]
            shown = []
            for number, one in enumerate(laid):
                start, tiles = of_ask[coming.first + number]
                answer = tiles.result()[coming.first + number - start]
                if isinstance(answer, str):
                    raise DamagedImage(coming.where.format(number) + answer)
                shown.append(Picture(one, answer))
            return shown

        return [partial(pictures, coming) for coming in found]

    def of(self, shard: int, row: int) -> list[Picture]:
        """The images of a document; waits for them, and raises as `begin` says."""
        return self.begin([(shard, row)])[0]()

    def _fetch(self, ask: Ask) -> bytes | str:
        try:
            return self._content.read(ask.shard, ask.size, ask.offset)
        except DamagedImage as error:
            return str(error)


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
