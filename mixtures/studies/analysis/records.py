"""A study and its runs as records: what was planned, and what became of each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FINISHED = "finished"
STATES = (FINISHED, "failed", "diverged", "killed", "missing")

Role = Literal["null", "obvious", "dose"]
ROLES = ("null", "obvious", "dose")
Expect = Literal["better", "worse"]


@dataclass(frozen=True)
class Arm:
    """An arm as it was planned.

    ``dose`` orders the arms of role ``dose``; ``expect`` is the direction of the one-sided test
    against the baseline, said before the runs; ``tier`` and ``epochs`` are of arms of a study of
    repetition; ``same_as`` names the arm whose runs these are.
    """

    name: str
    seeds: tuple[int, ...]
    role: Role | None = None
    dose: float | None = None
    expect: Expect = "better"
    tier: str | None = None
    epochs: float | None = None
    same_as: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """One run.

    ``metrics`` is {metric: {part: value}}; ``samples`` {metric: a score of each item}; ``curve``
    (tokens, training loss in nats a token) pairs.
    """

    arm: str
    seed: int
    state: str
    key: str = ""
    why: str = ""
    attempts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    final_loss: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tokenizer: str = ""
    corpus: str = ""

    @property
    def finished(self) -> bool:
        return self.state == FINISHED


@dataclass(frozen=True)
class StudyData:
    """All of a study: ``runs`` has one record for each (arm, seed), in the study's order."""

    name: str
    question: str
    kind: str
    baseline: str
    arms: Mapping[str, Arm]
    runs: tuple[RunRecord, ...]
    primary: str
    alpha: float
    power: float
    few_seeds: bool
    better: Mapping[str, str]
    study: Mapping[str, Any]
    folder: Path | None = None

    def of(self, arm: str) -> list[RunRecord]:
        """The records of an arm, by seed as planned."""
        return [run for run in self.runs if run.arm == arm]

    @property
    def lost(self) -> list[RunRecord]:
        """Runs that gave no result."""
        return [run for run in self.runs if not run.finished]

    @property
    def complete(self) -> bool:
        return not self.lost
