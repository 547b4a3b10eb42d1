"""Going back to a checkpoint from before a bad step, and leaving out what led to it.

``rollbacks.json`` in a run's folder lists the rollbacks so far. It is written before a run goes
back, so that a run that is killed at any moment, and resumed, goes on as if it had not been. Each
rollback leaves out sequences of the plan for good: the steps that would have read them are passed
over without being taken. They keep their numbers and their tokens: ``tokens`` of a schedule are a
place in the plan, trained on or not, so that rates, batch sizes, changes of mixture and the end of
the stage stay where the recipe has them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from trainer.megatron import checkpoints
from trainer.megatron.start import Ranks
from trainer.run.request import Request, RunRefused
from trainer.stages import schedule

ROLLBACKS = "rollbacks.json"


@dataclass(frozen=True)
class RollBack:
    """One time that a run went back.

    Attributes:
        step: the bad one, counted from 1.
        to: the step of the checkpoint that it went back to.
        first, stop: the sequences of the plan that are left out, from ``first`` to ``stop - 1``.
        what: was wrong with the step.
    """

    step: int
    to: int
    first: int
    stop: int
    what: str


class CannotRollBack(Exception):
    """There is nothing to go back to, or it was done too often; says which."""


class RollBacks:
    """The rollbacks of a run. Every rank makes one and calls the same of it.

    Opened, it drops what a kill left in the folder of steps that were taken back: checkpoints, and
    the whole list where there is no checkpoint that a run could have gone back to.

    Raises:
        RunRefused: the list is none.
    """

    def __init__(self, request: Request, ranks: Ranks) -> None:
        self._request, self._ranks = request, ranks
        self._path = request.out / ROLLBACKS
        self.done: list[RollBack] = self._on_first(self._open)

    def leaves_out(self, sequence: int) -> bool:
        """Whether the step that begins with a sequence of the plan is passed over."""
        return any(one.first <= sequence < one.stop for one in self.done)

    def as_json(self) -> list[dict[str, Any]]:
        """For the state of a checkpoint: what it knows of."""
        return [asdict(one) for one in self.done]

    def choose(self, step: int, what: str) -> RollBack:
        """Where to go back to from a bad step, counted from 1; ``take`` makes it so.

        Raises:
            CannotRollBack: on every rank.
        """
        stage = self._request.stage
        if len(self.done) >= stage.roll_back.most:
            raise CannotRollBack(
                f"rolled back {len(self.done)} times, and roll_back.most of the stage allows "
                f"{stage.roll_back.most}"
            )
        kept = self._on_first(lambda: checkpoints.steps(self._request.checkpoints))
        # A checkpoint of step n is of the steps up to n.
        before = [n for n in kept if n < step]
        if not before:
            raise CannotRollBack(
                "found no checkpoint from before it to go back to; say a smaller --save-every"
            )
        begin = step - 1 - stage.roll_back.before
        to = max((n for n in before if n <= begin), default=min(before))
        tokens = [schedule.tokens_at(stage, n) for n in (max(begin, to), step)]
        first, stop = (n // stage.length for n in tokens)
        return RollBack(step, to, first, stop, what)

    def take(self, one: RollBack) -> None:
        """Write a rollback down, and drop later checkpoints than the one it goes back to."""
        self.done.append(one)
        self._on_first(self._write)

    def _on_first(self, work: Any) -> Any:
        """What ``work`` returns on the first rank, on all; raises on all what it raises there."""
        told: list[Any] = [None, None]
        if self._ranks.rank == 0:
            try:
                told[0] = work()
            except Exception as error:  # noqa: BLE001 - raised on every rank below
                told[1] = error
        if self._ranks.world > 1:
            dist.broadcast_object_list(told)
        if told[1] is not None:
            raise told[1]
        return told[0]

    def _open(self) -> list[RollBack]:
        known = _read(self._path)
        folder = self._request.checkpoints
        last = checkpoints.latest(folder)
        if last is None:
            self._path.unlink(missing_ok=True)  # of a run whose checkpoints are gone: it begins
            return []
        discard(folder, known)
        last = checkpoints.latest(folder)
        if last is not None and not known:
            # The folder was copied without the list: the checkpoint has it too.
            known = [RollBack(**one) for one in _known(folder, last)]
        return known

    def _write(self) -> None:
        part = self._path.with_name(f"{ROLLBACKS}.part")
        with part.open("w") as file:
            json.dump(self.as_json(), file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)
        discard(self._request.checkpoints, self.done)


def discard(folder: Path, known: Sequence[RollBack]) -> None:
    """Delete the checkpoints of steps that were taken back: later ones than their rollback's."""
    for step in checkpoints.steps(folder):
        since = known[len(_known(folder, step)) :]
        if any(step > one.to for one in since):
            checkpoints.delete(folder, step)


def _known(folder: Path, step: int) -> list[dict[str, Any]]:
    """The rollbacks that were done before a checkpoint was made."""
    found: list[dict[str, Any]] = checkpoints.read_state(folder, step).get("rollbacks", [])
    return found


def _read(path: Path) -> list[RollBack]:
    if not path.is_file():
        return []
    try:
        return [RollBack(**one) for one in json.loads(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise RunRefused(
            f"{path}: found no list of rollbacks ({error}), expected what a run wrote; restore the "
            "file, or delete it to go on by what the checkpoint knows"
        ) from error
