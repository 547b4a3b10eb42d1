"""A stage of preferences on its way: its reference, its loss, and what held-out pairs say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import blake3
import numpy as np
import numpy.typing as npt
import orjson
import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from mixtures.plan import Plan
from trainer.closing import Closing
from trainer.data.batches import Batches, MicroBatch
from trainer.megatron.start import Ranks
from trainer.preference.early_stop import Measured, Patience
from trainer.preference.held_out import HeldOut, HeldOutSequences
from trainer.preference.loss import judge
from trainer.preference.objective import DpoObjective, score
from trainer.preference.pairs import PairBatch, PairRows, split_all
from trainer.preference.recipe import Dpo
from trainer.preference.reference import Reference, make_reference, open_reference
from trainer.run.request import Request
from trainer.stages import schedule

_log = logging.getLogger(__name__)

BatchesOf = Callable[[Plan], Batches]
"""Reads held-out pairs as the run's plan is read; what cannot be read is left out and told: they
are measured between steps, where a run cannot be stopped as before one."""


class PreferenceTraining(Closing):
    """What a stage of preferences has besides the walk of any stage. Every rank has one.

    Parameters
    ----------
    request, ranks, plan : of the run
    eod : the id that ends documents
    batches : of the plan
    batches_of : makes those of the held-out pairs
    held_out : the pairs; none where there is no early stop
    """

    def __init__(
        self,
        request: Request,
        ranks: Ranks,
        plan: Plan,
        eod: int,
        batches: Batches,
        batches_of: BatchesOf,
        held_out: HeldOut | None,
    ) -> None:
        settings = request.stage.objective
        assert settings is not None
        self.settings: Dpo = settings
        self._request, self._ranks, self._plan, self._eod = request, ranks, plan, eod
        self._batches = batches
        self._rows = PairRows(plan)
        self._held_out: HeldOutSequences | None = None
        self._held_out_batches: Batches | None = None
        self._held_out_rows = self._rows
        self._patience: Patience | None = None
        self._whole = ranks.dp_size * batches.micro_batch_sequences
        if settings.early_stop is None or held_out is None:
            return
        if len(held_out):
            self._held_out = HeldOutSequences(plan, held_out, self._whole)
            self._held_out_batches = batches_of(self._held_out)
            self._held_out_rows = PairRows(self._held_out, first=len(self._rows))
            self._patience = Patience(settings.early_stop)
        if len(held_out) < settings.early_stop.fewest and ranks.rank == 0:
            _log.warning(
                "stage %s: found %d held-out pairs of its sources, expected at least %d to stop "
                "early by: it goes on to the end of its budget; build the corpus with a larger "
                "split.held_out, or set objective.early_stop.fewest",
                request.stage.name, len(held_out), settings.early_stop.fewest,
            )  # fmt: skip

    def close(self) -> None:
        """End the thread that reads held-out pairs ahead."""
        if self._held_out_batches is not None:
            self._held_out_batches.close()

    def begin(self, chunks: Sequence[Any], weights: Any, expected: str | None) -> None:
        """Have the reference: opened where the run has it, else computed by the model as it stands.

        Parameters
        ----------
        weights : what the model's weights are, as JSON has it
        expected : the hash of the reference that the run's checkpoint goes with, None without one

        Raises
        ------
        RunRefused
            Where the checkpoint's reference is not there.
        """
        rows = len(self._rows) + self._held_out_count
        key = self._key(weights)
        out, is_first = self._request.out, self._ranks.rank == 0
        reference = open_reference(out, key, rows, expected)
        if not self._all(reference is not None):
            with _bar(is_first and not self._request.json) as bar:
                work = _Work(self, chunks)
                task = bar.add_task(f"{self._request.stage.name} reference", total=len(work.ends))
                reference = make_reference(
                    out, key, work, is_first, self._agree,
                    told=lambda done: bar.update(task, completed=done),
                )  # fmt: skip
            # As if nothing had been read: what was skipped stays skipped.
            self._batches.restore({**self._batches.state(), "next": 0})
        assert reference is not None
        self._use(reference)

    def _use(self, reference: Reference) -> None:
        self._reference = reference
        self._objective = DpoObjective(self.settings, reference, self._ranks.device)
        if self._patience is not None and not self._patience.measured and not self.settings.nll:
            # What would be measured before the first step is known: margins of 0.
            own = self._reference.of(torch.arange(len(self._rows), len(reference)))
            self._note(0, own.numpy(), own.numpy(), np.ones_like(own.numpy()))

    def prepare(self, batches: Sequence[MicroBatch]) -> tuple[list[PairBatch], DpoObjective]:
        """The micro-batches of a step as pairs, and their objective; all ranks call it."""
        found = split_all(batches, self._rows, self._plan.length, self._eod)
        self._objective.prepare(found)
        return found, self._objective

    def after(self, step: int, chunks: Sequence[Any]) -> Measured | None:
        """What held-out pairs say after a step, where that is due; on every rank."""
        if self._patience is None or not self._patience.is_due(step):
            return None
        rows, values, counts = self._held_out_scores(chunks)
        reference = self._reference.of(torch.from_numpy(rows)).numpy()
        return self._note(step, values, reference, counts)

    def _note(
        self,
        step: int,
        values: npt.NDArray[np.float64],
        reference: npt.NDArray[np.float64],
        counts: npt.NDArray[Any],
    ) -> Measured | None:
        assert self._patience is not None
        known = np.isfinite(values).all(1) & np.isfinite(reference).all(1)
        if not known.any():
            return None
        policy, before, tokens = (
            torch.from_numpy(np.array(part[known], np.float64))
            for part in (values, reference, counts)
        )
        judged = judge(policy, before, tokens, self.settings)
        measured = Measured(
            step,
            int(known.sum()),
            float(judged.losses.mean()),
            float(judged.margins.mean()),
            float(judged.right.mean()),
        )
        self._patience.note(measured)
        return measured

    @property
    def ended(self) -> str:
        """Why the stage ends here; empty where it goes on."""
        return "" if self._patience is None else self._patience.ended

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        measured = [] if self._patience is None else self._patience.state()
        return {"reference": self._reference.hash, "measured": measured}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        if self._patience is not None:
            self._patience.restore(state["measured"])

    @property
    def _held_out_count(self) -> int:
        return 0 if self._held_out is None else len(self._held_out_rows)

    def _held_out_scores(
        self, chunks: Sequence[Any]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        assert self._held_out is not None
        assert self._held_out_batches is not None
        rows, values, counts = [], [], []
        for first in range(0, len(self._held_out), self._whole):
            read = self._held_out_batches.step(first, self._whole)
            pairs = split_all(read, self._held_out_rows, self._plan.length, self._eod)
            found = score(chunks, pairs, self._ranks)
            rows.append(found.rows)
            values.append(found.values)
            counts.append(found.counts)
        return np.concatenate(rows), np.concatenate(values), np.concatenate(counts)

    def _key(self, weights: Any) -> str:
        held_out = []
        if self._held_out is not None:
            held_out = [piece.document for pieces in self._held_out for piece in pieces]
        told = [self._plan.hash, weights, held_out, self._request.precision]
        return str(blake3.blake3(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest())

    def _agree(self, number: int) -> int:
        """The first rank's number."""
        told = [number]
        if self._ranks.world > 1:
            dist.broadcast_object_list(told)
        return told[0]

    def _all(self, here: bool) -> bool:
        """Whether it holds on every rank."""
        told: list[bool] = [here]
        if self._ranks.world > 1:
            told = [here] * self._ranks.world
            dist.all_gather_object(told, here)
        return all(told)


def _bar(shown: bool) -> Progress:
    """Shows how many steps' pairs are done, and when all are."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )


class _Work:
    """The log-probabilities of all pairs by the present weights: ``reference.Work``."""

    def __init__(self, training: PreferenceTraining, chunks: Sequence[Any]) -> None:
        self._of, self._chunks = training, chunks
        request, length = training._request, training._plan.length
        self._steps = [
            (step.first_token // length, step.batch_tokens // length)
            for step in schedule.steps(request.stage)
        ]
        starts = training._rows.starts
        self.ends = [int(starts[first + count]) for first, count in self._steps]
        if training._held_out is not None:
            self.ends.append(len(training._rows) + training._held_out_count)

    def rows(self, step: int) -> npt.NDArray[np.float64]:
        """Those of a step of the plan, or of all held-out pairs, which come last."""
        begin = self.ends[step - 1] if step else 0
        values = np.full((self.ends[step] - begin, 2), np.nan)
        of = self._of
        if step == len(self._steps):
            rows, found, _ = of._held_out_scores(self._chunks)
        else:
            read = of._batches.step(*self._steps[step])
            pairs = split_all(read, of._rows, of._plan.length, of._eod)
            scored = score(self._chunks, pairs, of._ranks)
            rows, found = scored.rows, scored.values
        values[rows - begin] = found
        return values
