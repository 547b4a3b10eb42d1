"""Batches: the packed sequences of a step as tensors, the same for any number of ranks.

A step is sequences ``first`` to ``first + n`` of the plan. They are cut into micro-batches in their
order, and each data-parallel rank takes an equal stretch of these: so a micro-batch holds the same
tokens whoever computes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mixtures.plan import Piece, Plan
from trainer.data.corpus import Corpus, Stretch
from trainer.data.errors import BadShard, DataError
from trainer.data.state import DataState, Ranges, merge_ranges

IGNORED = -100
"""The label of a token after which nothing is to be predicted."""
NO_DOCUMENT = -1
"""The document of a skipped sequence's only segment."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MicroBatch:
    """Packed sequences laid end to end.

    Attributes
    ----------
    tokens : int64 tensor [T]
    labels : int64 tensor [T]
        The next token of the same document, also where it lies in a later sequence; ``IGNORED``
        for the last token of a document, which is its end-of-document token.
    cu_seqlens : int32 tensor [n + 1]
        From 0 to T: where segments begin. A segment is one piece of a document; every multiple of
        the plan's length is a boundary.
    max_seqlen : int
        The longest segment.
    documents, token_starts : int64 tensors [n]
        Of each segment, the document's number in the corpus, and its first token's place in it.
    first_sequence, sequences : int
        Which sequences of the plan these are.
    skipped : tuple of int
        Those of them that are not there, because their shard is bad: all labels are ``IGNORED``.
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


@dataclass(frozen=True)
class _Step:
    """What a read brought: micro-batches, and the shards that were bad with the sequences that
    were skipped for each."""

    micro_batches: list[MicroBatch]
    skipped: dict[int, BadShard]


class Batches:
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
    ahead : int
        Steps that are read before they are asked for.
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
        ahead: int = 2,
        sequences_at: Callable[[int], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        corpus.check(plan)
        if not 0 <= dp_rank < dp_size:
            raise DataError(f"found dp_rank {dp_rank}, expected 0 to {dp_size - 1}")
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
        self._clock = clock
        self._next = 0
        self._skipped: Ranges = ()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: dict[tuple[int, int], Future[_Step]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._forget()
        self._thread.shutdown()

    def step(self, first_sequence: int, sequences: int) -> list[MicroBatch]:
        """The micro-batches of this rank in the step of ``sequences`` from ``first_sequence``.

        Raises
        ------
        DataError
            If the plan has no such sequences, or they do not divide into micro-batches for all
            ranks.
        BadShard
            If a shard is bad and the policy is to stop.
        """
        self._check(first_sequence, sequences)
        coming = self._coming.pop((first_sequence, sequences), None)
        if coming is None:
            self._forget()
            coming = self._thread.submit(self._load, first_sequence, sequences)
        self._read_ahead(first_sequence, sequences)
        begun = self._clock()
        step = coming.result()
        self.last_wait_seconds = self._clock() - begun
        self.waited_seconds += self.last_wait_seconds
        self._report(step)
        self._next = first_sequence + sequences
        return step.micro_batches

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
        for _ in range(self._ahead):
            first += sequences
            if self._sequences_at is not None:
                sequences = self._sequences_at(first)
            whole = self.dp_size * self.micro_batch_sequences
            if sequences < 1 or first + sequences > len(self.plan) or sequences % whole:
                return
            if (first, sequences) not in self._coming:
                self._coming[first, sequences] = self._thread.submit(self._load, first, sequences)

    def _forget(self) -> None:
        """Drop what was read for steps that do not come."""
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()

    def _report(self, step: _Step) -> None:
        """Take what was skipped into the state, and say so; or stop."""
        if not step.skipped:
            return
        if self._on_bad_shard == "stop":
            raise next(iter(step.skipped.values()))
        new = [i for i in step.skipped if not _holds(self._skipped, i)]
        for i in new:
            _log.warning("sequence %d is skipped: %s", i, step.skipped[i])
        self._skipped = merge_ranges([*self._skipped, *((i, i + 1) for i in new)])

    def _load(self, first: int, sequences: int) -> _Step:
        """Read this rank's part of a step."""
        share = sequences // self.dp_size
        first += self.dp_rank * share
        numbers = range(first, first + share)
        skipped = self._skipped
        pieces = {i: self.plan[i] for i in numbers if not _holds(skipped, i)}
        ids, reasons = self._ids(pieces)
        batches = []
        for start in range(first, first + share, self.micro_batch_sequences):
            wanted = range(start, start + self.micro_batch_sequences)
            batches.append(self._micro_batch(wanted, pieces, ids))
        return _Step(batches, reasons)

    def _ids(
        self, pieces: dict[int, list[Piece]]
    ) -> tuple[dict[int, list[npt.NDArray[Any]]], dict[int, BadShard]]:
        """The ids of each piece of the sequences, and the one after it where its document goes on;
        and the sequences that have none, with what is wrong."""
        flat = [(i, piece) for i, found in pieces.items() for piece in found]
        documents = np.array([piece.document for _, piece in flat], np.int64)
        lengths = self.plan.tokens(documents)
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
            ends = piece.token_start + piece.token_length == int(length)
            if array is not None and (wrong := self._wrong(array, ends)):
                bad[stretch.shard] = self.corpus.condemn(
                    stretch.shard, f"document {piece.document} at {stretch.offset} {wrong}"
                )
        found: dict[int, list[npt.NDArray[Any]]] = {i: [] for i in pieces}
        skipped: dict[int, BadShard] = {}
        for (i, _), stretch, array in zip(flat, stretches, arrays, strict=True):
            if stretch.shard in bad:
                skipped.setdefault(i, bad[stretch.shard])
            elif array is not None:
                found[i].append(array)
        return {i: arrays for i, arrays in found.items() if i not in skipped}, skipped

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
        ids: dict[int, list[npt.NDArray[Any]]],
    ) -> MicroBatch:
        length = self.plan.length
        total = len(numbers) * length
        tokens = np.full(total, self.corpus.eod, np.int64)
        labels = np.full(total, IGNORED, np.int64)
        bounds, documents, starts = [0], [], []
        for i in numbers:
            if i not in ids:
                bounds.append(bounds[-1] + length)
                documents.append(NO_DOCUMENT)
                starts.append(0)
                continue
            for piece, found in zip(pieces[i], ids[i], strict=True):
                at, size = bounds[-1], piece.token_length
                tokens[at : at + size] = found[:size]
                labels[at : at + len(found) - 1] = found[1:]
                bounds.append(at + size)
                documents.append(piece.document)
                starts.append(piece.token_start)
        return MicroBatch(
            tokens=torch.from_numpy(tokens),
            labels=torch.from_numpy(labels),
            cu_seqlens=torch.tensor(bounds, dtype=torch.int32),
            max_seqlen=int(np.diff(bounds).max()),
            documents=torch.tensor(documents, dtype=torch.int64),
            token_starts=torch.tensor(starts, dtype=torch.int64),
            first_sequence=numbers.start,
            sequences=len(numbers),
            skipped=tuple(i for i in numbers if i not in ids),
        )


def _holds(ranges: Ranges, i: int) -> bool:
    return any(start <= i < stop for start, stop in ranges)
