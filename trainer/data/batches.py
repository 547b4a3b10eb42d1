"""Batches: the packed sequences of a step as tensors, the same for any number of ranks.

A step is sequences ``first`` to ``first + n`` of the plan. They are cut into micro-batches in their
order, and each data-parallel rank takes an equal stretch of these: so a micro-batch holds the same
tokens whoever computes it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mixtures.plan import Piece, Plan
from trainer.closing import Closing
from trainer.data.content import DamagedImage
from trainer.data.corpus import Corpus, Stretch
from trainer.data.errors import BadShard, DataError
from trainer.data.pictures import Picture, Pictures, expand, images_of
from trainer.data.state import DataState, Ranges, merge_ranges
from trainer.vision.images import Images
from trainer.vision.recipe import CHANNELS

IGNORED = -100
"""The label of a token after which nothing is to be predicted."""
NO_DOCUMENT = -1
"""The document of padding, and of a skipped sequence's only segment."""

AHEAD, AHEAD_REMOTE = 2, 8
"""Steps that are read before they are asked for, from a disk and from an object store: its slowest
answers take many times as long as its usual ones."""
AHEAD_BYTES = 4 << 30
"""Tiles of steps that are read ahead, at most, where more than one step is: the next one always."""
CHECKED_STEPS = 64
"""Steps whose shards are looked at before they are read, at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MicroBatch:
    """Packed sequences laid end to end.

    Attributes
    ----------
    tokens : int64 tensor [T]
    labels : int64 tensor [T]
        The next token of the same document, also where it lies in a later sequence; ``IGNORED``
        where it is one that carries no loss (`trainer.data.loss_spans`), and for the last token of
        a document, which is its end-of-document token.
    cu_seqlens : int32 tensor [n + 1]
        From 0 to T: where segments begin. A segment is one piece of a document, or the padding that
        ends a sequence which documents do not fill: end-of-document tokens, with all labels
        ``IGNORED``. Every multiple of the plan's length is a boundary.
    max_seqlen : int
        The longest segment.
    documents, token_starts : int64 tensors [n]
        Of each segment, the document's number in the corpus, and its first token's place in it;
        ``NO_DOCUMENT`` and 0 of padding.
    first_sequence, sequences : int
        Which sequences of the plan these are.
    skipped : tuple of int
        Those of them that are not there, because their shard is bad: all labels are ``IGNORED``.
    images : Images or None
        What the sequences show, in their order; each image's id fills as many places as it has
        features, and is never a label. None, too, where images are not shown to this rank's model.
    """

    tokens: Tensor
    labels: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    documents: Tensor
    token_starts: Tensor
    first_sequence: int
    sequences: int
    skipped: tuple[int, ...]
    images: Images | None = None

    @property
    def padding(self) -> Tensor | None:
        """Which tokens are of no document, bool ``[T]``; None where all are of one."""
        filling = self.documents == NO_DOCUMENT
        return filling.repeat_interleave(self.cu_seqlens.diff()) if filling.any() else None


class _Ids(NamedTuple):
    """The ids of a piece, and the one after it where its document goes on; and which of those from
    the second on carry loss, None where all do; and the images that the piece shows."""

    ids: npt.NDArray[Any]
    carries: npt.NDArray[np.bool_] | None
    pictures: Sequence[Picture] = ()


Agree = Callable[[Mapping[int, BadShard]], Mapping[int, BadShard]]
"""Of sequences that this rank cannot read, those that any rank cannot read."""


@dataclass(frozen=True)
class _Step:
    """What a read brought: the ids of each piece of the sequences that are there, and of those that
    are not what is wrong with their shard."""

    pieces: dict[int, list[Piece]]
    read: dict[int, list[_Ids]]
    micro_batches: list[MicroBatch]
    skipped: dict[int, BadShard]


class Batches(Closing):
    """This rank's part of every step, read ahead in a thread.

    Parameters
    ----------
    plan : Plan
    corpus : Corpus
        The one that the plan was compiled for.
    dp_rank, dp_size : int
        Of the data-parallel group.
    micro_batch_sequences : int
        Sequences of a micro-batch.
    on_bad_shard : "stop" or "skip"
        What a shard that is not there or is damaged does: end the run with an error, or leave out
        the sequences that need it. Such a sequence keeps its place with nothing to predict, so
        that shapes and steps are the same; it is logged and becomes part of the state.
    ahead : int or None
        Steps that are read before they are asked for; by default ``AHEAD`` or ``AHEAD_REMOTE``.
        Fewer, but the next one, where their images would take more than ``AHEAD_BYTES``.
    agree : callable
        Called in every step with this rank's bad sequences, for those of all ranks: a shard may be
        unreadable on one of them, and ranks that share a sequence (tensor- and pipeline-parallel
        ones) must leave out the same. By default this rank's own.
    shows : bool
        Whether images are read: a pipeline stage that does not embed needs none. Their places in
        the sequences are the same without.
    pin : device or None
        The GPU that tensors are sent to: they lie in memory that it reads by itself, so that
        nothing waits for them.
    processes : bool or None
        Whether images are decoded by processes, and not by threads; by default where there is a
        GPU to send them to (`trainer.data.decoders` says why).
    sequences_at : callable
        The sequences of the step that begins with a given one, where batch sizes change: it tells
        what to read ahead. By default steps are as large as the last one.

    Attributes
    ----------
    waited_seconds : float
        How long `step` waited for data since this object was made. Of it, ``last_wait_seconds`` in
        the latest step. A loop that waits for a part of its time is starved.

    Raises
    ------
    DataError
        If the corpus is not the plan's, or the rank is not of its group.
    """

    def __init__(
        self,
        plan: Plan,
        corpus: Corpus,
        *,
        dp_rank: int = 0,
        dp_size: int = 1,
        micro_batch_sequences: int = 1,
        on_bad_shard: Literal["stop", "skip"] = "stop",
        ahead: int | None = None,
        sequences_at: Callable[[int], int] | None = None,
        agree: Agree = lambda own: own,
        shows: bool = True,
        pin: torch.device | None = None,
        processes: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        corpus.check(plan)
        if not 0 <= dp_rank < dp_size:
            raise DataError(f"found dp_rank {dp_rank}, expected 0 to {dp_size - 1}")
        if ahead is None:
            ahead = AHEAD if corpus.run.store.local is not None else AHEAD_REMOTE
        if micro_batch_sequences < 1 or ahead < 0:
            raise DataError(
                f"found micro_batch_sequences {micro_batch_sequences} and ahead {ahead}, expected "
                "at least 1 and 0"
            )
        self.plan = plan
        self.corpus = corpus
        self.dp_rank = dp_rank
        self.dp_size = dp_size
        self.micro_batch_sequences = micro_batch_sequences
        self.waited_seconds = 0.0
        self.last_wait_seconds = 0.0
        self._on_bad_shard = on_bad_shard
        self._ahead = ahead
        self._sequences_at = sequences_at
        self._agree = agree
        self._pin = pin
        tiling = plan.spec.tiling
        if processes is None:
            processes = pin is not None
        self._pictures = (
            None
            if tiling is None
            else Pictures(corpus, tiling, opens=shows, processes=shows and processes)
        )
        self._clock = clock
        self._next = 0
        self._checked_to = 0
        self._skipped: Ranges = ()
        # A thread begins with the first GPU: to pin there would take of its memory.
        begin = None if pin is None else partial(torch.cuda.set_device, pin)
        self._thread = ThreadPoolExecutor(1, "batches", begin)
        self._coming: dict[tuple[int, int], Future[_Step]] = {}

    def close(self) -> None:
        """End the threads that read ahead."""
        self._forget()
        self._thread.shutdown()
        if self._pictures is not None:
            self._pictures.close()

    def step(self, first_sequence: int, sequences: int) -> list[MicroBatch]:
        """The micro-batches of this rank in the step of ``sequences`` from ``first_sequence``.

        Raises
        ------
        DataError
            If the plan has no such sequences, or they do not divide into micro-batches for all
            ranks.
        BadShard
            If a shard is bad, here or on a rank that `agree` asks, and the policy is to stop.
        """
        self._check(first_sequence, sequences)
        coming = self._coming.pop((first_sequence, sequences), None)
        if coming is None:
            self._forget()
            coming = self._thread.submit(self._load, first_sequence, sequences)
        self._read_ahead(first_sequence, sequences)
        self._check_ahead(first_sequence, sequences)
        begun = self._clock()
        step = coming.result()
        self.last_wait_seconds = self._clock() - begun
        self.waited_seconds += self.last_wait_seconds
        lost = self._report(self._agree(step.skipped))
        self._next = first_sequence + sequences
        lost &= step.read.keys()
        if not lost:
            return step.micro_batches
        read = {i: ids for i, ids in step.read.items() if i not in lost}
        return self._micro_batches(self._mine(first_sequence, sequences), step.pieces, read)

    def state(self) -> dict[str, Any]:
        """The data state after the latest step, of this rank: `DataState.merged` makes one state
        of all ranks'."""
        return DataState(self.plan.hash, self._next, self._skipped).as_json()

    def restore(self, state: Mapping[str, Any]) -> int:
        """Go on where ``state`` was taken; returns the sequence that the next step begins with.

        Raises
        ------
        DataError
            If it is another plan's state.
        """
        found = DataState.from_json(state)
        if found.plan != self.plan.hash:
            raise DataError(
                f"the data state is of plan {found.plan[:16]}…, found {self.plan.hash[:16]}… at "
                f"{self.plan.folder}; compile the stage's plan from the same corpus, mixture and "
                "seed, or start the stage anew"
            )
        self._forget()
        self._checked_to = 0
        self._next, self._skipped = found.next, found.skipped
        return found.next

    def _check(self, first: int, sequences: int) -> None:
        if not 0 <= first < first + sequences <= len(self.plan):
            raise DataError(
                f"found a step of sequences {first} to {first + sequences}, expected some within "
                f"the plan's {len(self.plan)}; the stage's token budget ends there"
            )
        whole = self.dp_size * self.micro_batch_sequences
        if sequences % whole:
            raise DataError(
                f"found a step of {sequences} sequences, expected a multiple of {whole}: "
                f"{self.dp_size} data-parallel ranks with micro-batches of "
                f"{self.micro_batch_sequences}"
            )

    def _read_ahead(self, first: int, sequences: int) -> None:
        size = 0
        for number, step in enumerate(islice(self._following(first, sequences), self._ahead)):
            size += self._picture_bytes(*step)
            if number and size > AHEAD_BYTES:
                break
            if step not in self._coming:
                self._coming[step] = self._thread.submit(self._load, *step)

    def _picture_bytes(self, first: int, sequences: int) -> int:
        """What the tiles of a step take in this rank's memory, but for padding in them."""
        if self._pictures is None:
            return 0
        documents = [piece.document for i in self._mine(first, sequences) for piece in self.plan[i]]
        features = int((self.plan.lengths(documents) - self.plan.tokens(documents)).sum())
        return features * self._pictures.tiling.patch**2 * CHANNELS

    def _check_ahead(self, first: int, sequences: int) -> None:
        """Have the shards of later steps looked at, so that none waits while one is hashed."""
        for begin, count in islice(self._following(first, sequences), CHECKED_STEPS):
            if begin < self._checked_to:
                continue
            found = [piece.document for i in self._mine(begin, count) for piece in self.plan[i]]
            documents = np.array(found, np.int64)
            shards = self.plan.places(documents)[0]
            if not self.corpus.check_soon(np.unique(shards).tolist()):
                return
            if self._pictures is not None:
                pictured = np.unique(shards[self._pictured(documents)])
                if not self._pictures.check_soon(pictured.tolist()):
                    return
            self._checked_to = begin + count

    def _pictured(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which documents have images: they are longer to a model than they are stored."""
        return np.asarray(self.plan.lengths(documents) != self.plan.tokens(documents))

    def _following(self, first: int, sequences: int) -> Iterator[tuple[int, int]]:
        """The steps after one, as far as the plan goes: first sequence and count of each."""
        whole = self.dp_size * self.micro_batch_sequences
        while True:
            first += sequences
            if self._sequences_at is not None:
                sequences = self._sequences_at(first)
            if sequences < 1 or first + sequences > len(self.plan) or sequences % whole:
                return
            yield first, sequences

    def _mine(self, first: int, sequences: int) -> range:
        """This rank's sequences of a step."""
        share = sequences // self.dp_size
        first += self.dp_rank * share
        return range(first, first + share)

    def _forget(self) -> None:
        """Drop what was read for steps that do not come."""
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()

    def _report(self, skipped: Mapping[int, BadShard]) -> set[int]:
        """Take what was skipped into the state, and say so; or stop. Returns these sequences."""
        if skipped and self._on_bad_shard == "stop":
            raise skipped[min(skipped)]
        new = [i for i in sorted(skipped) if not _holds(self._skipped, i)]
        for i in new if os.environ.get("RANK", "0") == "0" else ():
            _log.warning("sequence %d is skipped: %s", i, skipped[i])
        self._skipped = merge_ranges([*self._skipped, *((i, i + 1) for i in new)])
        return set(skipped)

    def _load(self, first: int, sequences: int) -> _Step:
        """Read this rank's part of a step."""
        numbers = self._mine(first, sequences)
        skipped = self._skipped
        pieces = {i: self.plan[i] for i in numbers if not _holds(skipped, i)}
        read, reasons = self._ids(pieces)
        made = self._micro_batches(numbers, pieces, read)
        for batch in made:
            _share_tiles(batch, read)
        return _Step(pieces, read, made, reasons)

    def _micro_batches(
        self, numbers: range, pieces: dict[int, list[Piece]], read: dict[int, list[_Ids]]
    ) -> list[MicroBatch]:
        """Those of this rank's sequences of a step."""
        size = self.micro_batch_sequences
        return [
            self._micro_batch(range(start, start + size), pieces, read) for start in numbers[::size]
        ]

    def _ids(
        self, pieces: dict[int, list[Piece]]
    ) -> tuple[dict[int, list[_Ids]], dict[int, BadShard]]:
        """The ids of each piece of the sequences, and the one after it where its document goes on;
        and the sequences that have none, with what is wrong."""
        flat = [(i, piece) for i, found in pieces.items() for piece in found]
        documents = np.array([piece.document for _, piece in flat], np.int64)
        lengths = self.plan.tokens(documents)
        pictured = self._pictured(documents)
        shards, offsets = self.plan.places(documents)
        stretches = [
            Stretch(
                int(shard),
                int(offset) + piece.token_start * self.corpus.dtype.itemsize,
                min(piece.token_length + 1, int(length) - piece.token_start),
            )
            for (_, piece), shard, offset, length in zip(
                flat, shards, offsets, lengths, strict=True
            )
        ]
        arrays, bad = self.corpus.read(stretches)
        for (_, piece), stretch, array, length in zip(
            flat, stretches, arrays, lengths, strict=True
        ):
            # A document with images is never cut; its piece is longer than what is stored.
            ends = piece.token_start + piece.token_length >= int(length)
            if array is not None and (wrong := self._wrong(array, ends)):
                bad[stretch.shard] = self.corpus.condemn(
                    stretch.shard, f"document {piece.document} at {stretch.offset} {wrong}"
                )
        # All images of a step are begun before one is waited for.
        shown = [
            (piece, stretch.shard)
            for (_, piece), stretch, shows in zip(flat, stretches, pictured, strict=True)
            if shows and stretch.shard not in bad
        ]
        coming = dict(zip(shown, self._begin_pictures(shown), strict=True))
        found: dict[int, list[_Ids]] = {i: [] for i in pieces}
        skipped: dict[int, BadShard] = {}
        for (i, piece), stretch, offset, array in zip(
            flat, stretches, offsets, arrays, strict=True
        ):
            pictures = coming.get((piece, stretch.shard))
            if stretch.shard in bad:
                skipped.setdefault(i, bad[stretch.shard])
            elif array is not None:
                carries = self.corpus.carries_loss(
                    stretch.shard, int(offset), piece.token_start + 1, len(array) - 1
                )
                ids = _Ids(array, carries)
                if pictures is not None and i not in skipped:
                    try:
                        ids = self._shown(piece, stretch.shard, ids, pictures())
                    except DamagedImage as error:
                        skipped[i] = BadShard(
                            f"{error}; copy the file again, or build the run again, or go on "
                            "without the sequences that show it by --on-bad-shard skip",
                            stretch.shard,
                        )
                found[i].append(ids)
        return {i: arrays for i, arrays in found.items() if i not in skipped}, skipped

    def _begin_pictures(
        self, shown: Sequence[tuple[Piece, int]]
    ) -> list[Callable[[], list[Picture]]]:
        """Begin to read the images of documents; what waits for each one's."""
        if not shown:
            return []
        assert self._pictures is not None, "a plan without a tiling counts no features"
        first = self.plan.first_document
        return self._pictures.begin([(s, piece.document - first(s)) for piece, s in shown])

    def _shown(self, piece: Piece, shard: int, ids: _Ids, pictures: Sequence[Picture]) -> _Ids:
        """The ids of a document with images, whose images have their places.

        Raises
        ------
        DamagedImage
            If an image is not what the run stored, or ids and images are not of one document.
        """
        assert self._pictures is not None, "a plan without a tiling counts no features"
        row = piece.document - self.plan.first_document(shard)
        tokens = [picture.plan.tokens for picture in pictures]
        where = f"{self.corpus.run.store.uri}/{self.corpus.path(shard)}: row {row}"
        try:
            laid = expand(ids.ids, ids.carries, tokens, self._pictures.image_token)
        except ValueError as error:
            raise DamagedImage(f"{where}: {error}") from error
        if len(laid.ids) != piece.token_length:
            raise DamagedImage(
                f"{where}: found {len(laid.ids)} tokens with those of its images, expected "
                f"{piece.token_length} as the plan has"
            )
        return _Ids(laid.ids, laid.carries, pictures)

    def _wrong(self, ids: npt.NDArray[Any], ends: bool) -> str:
        """What shows that ids are not a document's, where that can be seen without a hash."""
        if int(ids.max()) >= self.corpus.vocab_size:
            return f"has id {int(ids.max())}, expected ids below {self.corpus.vocab_size}"
        if ends and int(ids[-1]) != self.corpus.eod:
            return f"ends in id {int(ids[-1])}, expected the end of document, {self.corpus.eod}"
        return ""

    def _micro_batch(
        self,
        numbers: range,
        pieces: dict[int, list[Piece]],
        read: dict[int, list[_Ids]],
    ) -> MicroBatch:
        length = self.plan.length
        total = len(numbers) * length
        tokens = np.full(total, self.corpus.eod, np.int64)
        labels = np.full(total, IGNORED, np.int64)
        bounds, documents, starts = [0], [], []
        pictures: list[Picture] = []
        for i in numbers:
            if i not in read:
                bounds.append(bounds[-1] + length)
                documents.append(NO_DOCUMENT)
                starts.append(0)
                continue
            for piece, (ids, carries, shown) in zip(pieces[i], read[i], strict=True):
                pictures += shown
                at, size = bounds[-1], piece.token_length
                tokens[at : at + size] = ids[:size]
                following = labels[at : at + len(ids) - 1]
                following[:] = ids[1:]
                if carries is not None:
                    following[~carries] = IGNORED
                bounds.append(at + size)
                documents.append(piece.document)
                starts.append(piece.token_start)
            end = (i + 1 - numbers.start) * length
            if bounds[-1] < end:
                bounds.append(end)
                documents.append(NO_DOCUMENT)
                starts.append(0)
        made = MicroBatch(
            tokens=torch.from_numpy(tokens),
            labels=torch.from_numpy(labels),
            cu_seqlens=torch.tensor(bounds, dtype=torch.int32),
            max_seqlen=int(np.diff(bounds).max()),
            documents=torch.tensor(documents, dtype=torch.int64),
            token_starts=torch.tensor(starts, dtype=torch.int64),
            first_sequence=numbers.start,
            sequences=len(numbers),
            skipped=tuple(i for i in numbers if i not in read),
            images=self._images(pictures, tokens),
        )
        return made if self._pin is None else _pinned(made)

    def _images(self, pictures: list[Picture], tokens: npt.NDArray[np.int64]) -> Images | None:
        """What the sequences show, and where."""
        images = images_of(pictures)
        if images is None or self._pictures is None:
            return None
        places = np.flatnonzero(tokens == self._pictures.image_token)
        return replace(images, places=torch.from_numpy(places))


def _share_tiles(batch: MicroBatch, read: dict[int, list[_Ids]]) -> None:
    """Let the pictures that were read show the micro-batch's tiles: they are kept once."""
    if batch.images is None:
        return
    tiles, at = batch.images.pixels.numpy(), 0
    for i in range(batch.first_sequence, batch.first_sequence + batch.sequences):
        for number, ids in enumerate(read.get(i, ())):
            shared = []
            for picture in ids.pictures:
                end = at + len(picture.plan.tiles)
                shared.append(replace(picture, tiles=tiles[at:end]))
                at = end
            read[i][number] = ids._replace(pictures=shared)


def _pinned(batch: MicroBatch) -> MicroBatch:
    """The same, what is sent to a GPU in memory that it reads by itself."""
    return replace(
        batch,
        tokens=batch.tokens.pin_memory(),
        labels=batch.labels.pin_memory(),
        cu_seqlens=batch.cu_seqlens.pin_memory(),
        images=None if batch.images is None else batch.images.pinned(),
    )


def _holds(ranges: Ranges, i: int) -> bool:
    return any(start <= i < stop for start, stop in ranges)
