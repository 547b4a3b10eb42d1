"""Which held-out documents of a corpus a model is judged by, and their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mixtures.documents import HELD_OUT
from trainer.data.content import DamagedImage
from trainer.data.corpus import Corpus, Stretch
from trainer.data.errors import BadShard
from trainer.data.pictures import Picture, Pictures, expand
from trainer.evaluation.errors import EvaluationError
from vl_data.tiling import token_counts

_COLUMNS = [
    "doc_id", "content_id", "source", "split", "tokens", "token_offset", "text_bytes", "images",
]  # fmt: skip
_READ_TOKENS = 1 << 22


@dataclass(frozen=True)
class HeldOut:
    """A held-out document.

    ``tokens`` of it in the corpus, the end of document counted; the first ``taken`` are read. One
    with ``images`` is read whole, and each takes as many places as it has features. ``row``: of
    the shard's index.
    """

    shard: int
    token_offset: int
    tokens: int
    text_bytes: int
    source: str
    taken: int
    row: int = 0
    images: int = 0

    @property
    def stored(self) -> int:
        """Tokens that are read of the shard."""
        return self.tokens if self.images else self.taken


@dataclass(frozen=True)
class Choice:
    """The documents chosen, and what there was to choose from.

    ``available``: documents and tokens of each source that are held out. ``unseen``: documents with
    images that are left out, because the model sees none or they are longer than what is read.
    """

    documents: tuple[HeldOut, ...]
    available: dict[str, tuple[int, int]]
    unseen: int = 0


@dataclass(frozen=True)
class Read:
    """A document as a model reads it.

    ``ids`` int64 ``[taken]``; ``carries`` bool ``[taken - 1]``, which of those from the second on
    count: all of a text, of a document with images what carries loss in training. ``pictures``:
    what it shows.
    """

    ids: torch.Tensor
    carries: npt.NDArray[np.bool_]
    pictures: Sequence[Picture] = ()


def choose(corpus: Corpus, *, tokens: int, longest: int, tiling: str | None = None) -> Choice:
    """Choose held-out documents by content: the same ones in every build that has them.

    Documents come in the order of their content ids, which are hashes of their texts, so a larger
    budget reads what a smaller one does and more. Sources have the shares that they have in what
    was held out.

    Parameters
    ----------
    corpus : Corpus
    tokens : int
        Read at most so many; the last document is cut there.
    longest : int
        Read at most so many of a document, from its first. A document with images is never cut: a
        longer one is left out.
    tiling : str, optional
        By which images are shown; None: documents with images are left out.

    Raises
    ------
    EvaluationError
        If no document of two tokens is held out, or the budgets are too small for one.
    """
    if tokens < 2 or longest < 2:
        raise EvaluationError(
            f"found a budget of {tokens} tokens and {longest} of a document, expected 2 or more: "
            "the first token of a document is never predicted"
        )
    keyed: list[tuple[bytes, bytes, HeldOut]] = []
    available: dict[str, tuple[int, int]] = {}
    run = corpus.run
    unseen = 0
    for number, shard in enumerate(run.shards):
        if not shard.name.startswith(f"{HELD_OUT}-"):
            continue  # shards are of one split: the index of what was trained on stays unread
        table = run.table(shard.tokenize, "index", _COLUMNS)
        for at, row in enumerate(table.to_pylist()):
            if row["split"] != HELD_OUT:
                continue
            source, count, images = row["source"], row["tokens"], row["images"] or []
            documents, total = available.get(source, (0, 0))
            available[source] = documents + 1, total + count
            if count < 2:  # an empty document is an end of document alone
                continue
            taken = min(count, longest)
            if images:
                taken = 0 if tiling is None else count - len(images) + _places(images, tiling)
                if not 0 < taken <= longest:
                    unseen += 1
                    continue
            document = HeldOut(
                number, row["token_offset"], count, row["text_bytes"], source, taken, at,
                len(images),
            )  # fmt: skip
            keyed.append((row["content_id"], row["doc_id"], document))
    if not keyed:
        why = "build the run again with a share to hold out"
        if unseen:
            why = f"{unseen:,} with images are left out: the model sees none, or --longest is less"
        raise EvaluationError(f"{run.store.uri}: found no held-out document, expected some; {why}")
    keyed.sort(key=lambda each: each[:2])
    chosen = []
    left = tokens
    for _, _, document in keyed:
        if left < 2:
            break
        taken = min(document.taken, left)
        if document.images and taken < document.taken:
            continue
        chosen.append(replace(document, taken=taken))
        left -= taken
    return Choice(tuple(chosen), available, unseen)


def _places(images: Sequence[dict[str, Any]], tiling: str) -> int:
    """What images take in a sequence."""
    widths, heights = ([image[name] for image in images] for name in ("width", "height"))
    return int(token_counts(np.array(widths), np.array(heights), tiling).sum())


def read(
    corpus: Corpus, documents: Sequence[HeldOut], pictures: Pictures | None = None
) -> Iterator[tuple[list[int], list[Read]]]:
    """Documents, some at a time: their numbers, and what a model reads.

    Parameters
    ----------
    pictures : the corpus's, where documents have images

    Raises
    ------
    BadShard
        If a shard is not what the run wrote.
    """
    start = 0
    while start < len(documents):
        stop, size = start, 0
        while stop < len(documents) and (stop == start or size < _READ_TOKENS):
            size += documents[stop].taken
            stop += 1
        mine = documents[start:stop]
        found, bad = corpus.read([Stretch(d.shard, d.token_offset, d.stored) for d in mine])
        for error in bad.values():
            raise error
        arrays = [ids for ids in found if ids is not None]
        yield (
            list(range(start, stop)),
            [_read(corpus, *one, pictures) for one in zip(mine, arrays, strict=True)],
        )
        start = stop


def _read(
    corpus: Corpus, document: HeldOut, ids: npt.NDArray[Any], pictures: Pictures | None
) -> Read:
    everything = np.ones(len(ids) - 1, np.bool_)
    if not document.images:
        return Read(torch.from_numpy(ids.astype(np.int64)), everything)
    assert pictures is not None, "documents with images are chosen by a tiling"
    shard, first = document.shard, document.token_offset
    carries = corpus.carries_loss(shard, first, 1, len(ids) - 1)
    try:
        shown = pictures.of(shard, document.row)
        places = [picture.plan.tokens for picture in shown]
        laid = expand(ids, carries, places, pictures.image_token)
    except (DamagedImage, ValueError) as error:
        where = f"{corpus.run.store.uri}/{corpus.path(shard)}: row {document.row}"
        raise BadShard(f"{where}: {error}; build the run again", shard) from error
    return Read(torch.from_numpy(laid.ids.astype(np.int64)), laid.carries, shown)
