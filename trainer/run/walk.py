"""The steps of a run, from where it stands to where it is to end."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch.distributed as dist

from mixtures.plan import Plan
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.errors import BadShard
from trainer.data.state import DataState, Ranges, merge_ranges
from trainer.guards import Action, Finding, Guard, worst
from trainer.logs.profile import profiled
from trainer.megatron import checkpoints
from trainer.megatron.checkpoints import SaveFailed
from trainer.megatron.optimizer import StepFailed, gradient_norms, set_rate, step
from trainer.megatron.start import Ranks
from trainer.preference.training import PreferenceTraining
from trainer.run.batch import BatchResult, MicroBatch, run_batch
from trainer.run.objective import NEXT_TOKEN, Objective
from trainer.run.outcome import Outcome, State
from trainer.run.recorder import Recorder
from trainer.run.request import PROFILE, Request
from trainer.run.rollback import CannotRollBack, RollBacks
from trainer.run.stopping import Asked, listening
from trainer.stages import schedule
from trainer.stages.layer_guard import LayerGuard
from trainer.stages.recipe import StageRecipe
from trainer.stages.schedule import Step

_log = logging.getLogger(__name__)


@dataclass
class Parts:
    """What a run is made of, once assembled. ``former`` is the stage whose mixture it begins at."""

    request: Request
    ranks: Ranks
    corpus: Corpus
    plan: Plan
    batches: Batches
    chunks: list[Any]
    optimizer: Any
    identity: dict[str, Any]
    former: StageRecipe | None
    guard: Guard
    layer_guard: LayerGuard
    preference: PreferenceTraining | None = None

    @property
    def stage(self) -> StageRecipe:
        """The one that is trained."""
        return self.request.stage


class Walk:
    """A run on its way. Every rank has one, and all do the same.

    ``done`` steps have been taken or left out, which had the plan's first ``tokens`` tokens.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.done = self.tokens = 0
        self.loss: float | None = None
        self.why = ""
        self._left_out: Ranges = ()
        self._saved: int | None = None
        self._saving: checkpoints.Saving | None = None
        self._skips = 0  # in a row, up to here
        self._diverged = ""
        self._amid = False  # the weights have changed, and the step is not written down yet
        self._rollbacks = RollBacks(parts.request, parts.ranks)
        last = checkpoints.latest(parts.request.checkpoints)
        if last is not None:
            self._load(last)

    def run(self) -> Outcome:
        """Take the steps; returns when the last is done, a guard stops it, or a signal came."""
        request, stage, ranks = self.parts.request, self.parts.stage, self.parts.ranks
        total = schedule.step_count(stage)
        last = total if request.steps is None else min(request.steps, total)
        recorder = Recorder(
            request, self.parts.plan, self.parts.corpus, ranks, self.done, self.tokens, last
        )
        with listening() as asked, recorder:
            try:
                stopped = self._steps(last, total, recorder, asked)
                if stopped:
                    self._save_good(recorder)
                self._finish_saving(recorder)
            except BadShard as error:  # on every rank, before the step has begun
                self._save_good(recorder)
                self.why = str(error)
                self._outcome("stopped", total)
                raise BadShard(f"{error}; {self._place()}", *error.shards) from error
            except Exception as error:
                self._rescue(recorder, error, total)
                raise
        state: State = "finished" if self.done == total or self._ended_early else "paused"
        if stopped:
            state = "stopped"
        return self._outcome(state, total)

    def _steps(self, last: int, total: int, recorder: Recorder, asked: Asked) -> bool:
        """Take steps up to ``last``; whether a guard stopped the run."""
        request, stage, ranks = self.parts.request, self.parts.stage, self.parts.ranks
        while self.done < last and not self._ended_early:
            now = next(schedule.steps(stage, self.done))
            if self._rollbacks.leaves_out(now.first_token // stage.length):
                recorder.left_out(now)
                self._leave_out(now)
            else:
                action = self._step(now, recorder)
                if action == "stop":
                    return True
                if action == "roll_back":
                    continue
            self.done, self.tokens = now.step + 1, now.first_token + now.batch_tokens
            self._amid = False
            writing = self._saving is not None and not self._saving.is_written
            ending, writing = asked.anywhere(ranks.device, busy=writing)
            if not writing:
                self._finish_saving(recorder)
            early = bool(self._ended_early)
            if self.done % request.save_every == 0 or ending or early or self.done == last:
                self._finish_saving(recorder)
                recorder.sync()
                self._save(finished=self.done == total or early)
            if ending and not early:
                self.why = "asked to end by a signal"
                break
        return False

    def _save_good(self, recorder: Recorder) -> None:
        """A checkpoint of the steps so far, for the run ends before the next one; on every rank.

        Weights are those after the last step that was taken: a step that is not taken leaves them.
        """
        self._finish_saving(recorder)
        if self.done and self._saved != self.done:
            recorder.sync()
            self._save(finished=False)
            self._finish_saving(recorder)

    def _rescue(self, recorder: Recorder, error: Exception, total: int) -> None:
        """Save what can be saved where an error ends the run; that error is told, not another.

        Several ranks can only save together, and this one does not know whether the others are
        there: then the last checkpoint stays.
        """
        if self.parts.ranks.world > 1:
            return
        try:
            if self._amid or isinstance(error, SaveFailed):
                self._finish_saving(recorder)  # the weights are of no step that was written down
            else:
                self._save_good(recorder)
            self.why = str(error)
            self._outcome("stopped", total)
        except Exception as other:  # noqa: BLE001 - a full disk has more than one
            _log.warning("the steps since the last checkpoint are lost: %s", other)

    def _place(self) -> str:
        """For an error: where the run goes on from."""
        if self._saved is None:
            return "no step was taken before"
        return f"the run is saved at step {self._saved} and goes on from there with --resume"

    def _step(self, now: Step, recorder: Recorder) -> Action:
        """What was done with a step; one that was taken, whatever was found, is ``ignore``.

        After ``roll_back`` the run stands at the checkpoint.
        """
        parts, stage = self.parts, self.parts.stage
        first, sequences = now.first_token // stage.length, now.batch_tokens // stage.length
        with self._profiled(now.step + 1):
            batches, objective = self._read(first, sequences)
            result = run_batch(
                parts.chunks,
                batches,
                ranks=parts.ranks,
                layers=parts.request.model.layers,
                train=True,
                objective=objective,
            )
            norms = gradient_norms(parts.optimizer, parts.chunks)
            norm = sum(x * x for x in norms.values()) ** 0.5
            before = parts.guard.state(), parts.layer_guard.state()
            finding = self._judge(result, norm, norms)
            # Nothing to learn from is no step: Adam's moments and the weights would decay.
            action = self._act(finding, now.rate) if result.labels else "skip"
        if action == "skip" and self._skips >= stage.guard.most_skipped:
            what = finding.what if finding is not None else "found nothing to learn from"
            finding = Finding(
                "stop",
                f"{what}; {self._skips} steps before it were skipped, and guard.most_skipped of "
                f"the stage allows {stage.guard.most_skipped}",
            )
        back = None
        if finding is not None and action == "roll_back":
            self._finish_saving(recorder)  # what is being written may be what it goes back to
            try:
                back = self._rollbacks.choose(now.step + 1, finding.what)
            except CannotRollBack as error:
                finding = Finding("stop", f"{finding.what}; {error}")
        if finding is not None:
            recorder.bad(now, finding, None if back is None else back.to)
        if back is not None:
            self._rollbacks.take(back)
            self._load(back.to)
            recorder.roll_back(self.done, self.tokens)
            return "roll_back"
        if finding is not None and finding.action == "stop":
            self.why = f"step {now.step + 1}: {finding.what}"
            # As if it had not been seen: a run that goes on judges it again.
            parts.guard.restore(before[0])
            parts.layer_guard.restore(before[1])
            return "stop"
        if action == "skip":
            self._leave_out(now)
            self._skips += 1
        else:
            self.loss = result.loss
            self._skips = 0
        if result.labels:
            finite = math.isfinite(result.loss) and math.isfinite(norm)
            self._diverged = "" if finite else f"loss {result.loss} and gradient norm {norm}"
        left_out = "" if action != "skip" else "skip" if result.labels else "no labels"
        skipped = self._data_state().skipped
        measured = None
        if parts.preference is not None:
            measured = parts.preference.after(now.step + 1, parts.chunks)
            self.why = parts.preference.ended
        recorder.step(now, result, norm, norms, parts.batches, skipped, left_out, measured)
        return action

    def _read(self, first: int, sequences: int) -> tuple[Sequence[MicroBatch], Objective]:
        """The micro-batches of a step, and what is minimised over them."""
        read, preference = self.parts.batches.step(first, sequences), self.parts.preference
        if preference is None:
            return read, NEXT_TOKEN
        return preference.prepare(read)

    @property
    def _ended_early(self) -> str:
        """Why the stage ends before its budget; empty where it goes on."""
        return "" if self.parts.preference is None else self.parts.preference.ended

    def _judge(self, result: BatchResult, norm: float, norms: dict[str, float]) -> Finding | None:
        if not result.labels:
            return None
        found = self.parts.guard.judge(result.loss, norm)
        return worst([found, self.parts.layer_guard.judge(norms, keep=found is None)])

    def _act(self, finding: Finding | None, rate: float) -> Action:
        """Take the step, which is to ignore what was found; or say what its finding asks for."""
        if finding is not None and finding.action != "ignore":
            return finding.action
        set_rate(self.parts.optimizer, rate)
        self._amid = True
        try:
            step(self.parts.optimizer)
        except StepFailed:
            self._amid = False
            return "skip"  # not finite, and ignored: the optimizer left the weights as they were
        return "ignore"

    def _leave_out(self, now: Step) -> None:
        length = self.parts.stage.length
        first, stop = now.first_token // length, (now.first_token + now.batch_tokens) // length
        self._left_out = merge_ranges([*self._left_out, (first, stop)])

    def _profiled(self, number: int) -> AbstractContextManager[None]:
        """Look at this step, where it was asked for and on the first rank."""
        request, ranks = self.parts.request, self.parts.ranks
        asked = ranks.rank == 0 and number in request.profile
        return profiled(request.out / PROFILE if asked else None, number, ranks.device)

    def _load(self, number: int) -> None:
        """Stand where the checkpoint of a step does."""
        parts, request = self.parts, self.parts.request
        state = checkpoints.read_state(request.checkpoints, number)
        checkpoints.load(request.checkpoints, number, parts.chunks, parts.optimizer)
        parts.batches.restore(state["data"])
        parts.guard.restore(state["guard"])
        parts.layer_guard.restore(state["layer_guard"])
        if parts.preference is not None:
            parts.preference.restore(state["preference"])
            self.why = parts.preference.ended
        self._left_out = DataState.from_json(state["data"]).left_out
        self.done, self.tokens = int(state["step"]), int(state["tokens"])
        self.loss, self._saved, self._amid = None, number, False
        self._skips, self._diverged = int(state.get("skips", 0)), str(state.get("diverged", ""))

    def _data_state(self) -> DataState:
        """Where the run stands in its data; each rank knows only what it skipped itself."""
        own = self.parts.batches.state()
        states: list[Any] = [own]
        if self.parts.ranks.world > 1:
            states = [None] * self.parts.ranks.world
            dist.all_gather_object(states, own)
        return DataState.merged(states)

    def _save(self, *, finished: bool) -> None:
        """Begin to write a checkpoint; training goes on meanwhile."""
        parts = self.parts
        # Steps that are passed over are not read: what was read last may lie further back.
        begin = self.tokens // parts.stage.length
        data = replace(self._data_state(), next=begin, left_out=self._left_out)
        state = {
            "step": self.done,
            "tokens": self.tokens,
            "finished": finished,
            "data": data.as_json(),
            "guard": parts.guard.state(),
            "layer_guard": parts.layer_guard.state(),
            "rollbacks": self._rollbacks.as_json(),
            "skips": self._skips,
            "diverged": self._diverged,
            "former": None if parts.former is None else parts.former.model_dump(mode="json"),
            "identity": parts.identity,
        }
        if parts.preference is not None:
            state["preference"] = parts.preference.state()
        self._saving = checkpoints.begin(
            parts.request.checkpoints, self.done, parts.chunks, parts.optimizer, state,
            keep=parts.request.keep,
        )  # fmt: skip

    def _finish_saving(self, recorder: Recorder) -> None:
        """Make what is being written a checkpoint."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.finish()
            recorder.saved(saving.step)
            self._saved = saving.step

    def _outcome(self, state: State, total: int) -> Outcome:
        request, saved = self.parts.request, self._saved
        place = None if saved is None else str(checkpoints.path_of(request.checkpoints, saved))
        outcome = Outcome(
            state,
            self.parts.stage.name,
            self.done,
            total,
            self.tokens,
            self.loss,
            place,
            self.why,
        )
        if self.parts.ranks.rank == 0:
            told = json.dumps(outcome.as_json(), indent=1)
            (request.out / "outcome.json").write_text(told + "\n")
        return outcome
