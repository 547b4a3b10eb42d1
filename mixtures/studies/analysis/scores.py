"""The scores of a study as arrays: for each metric and arm, runs by items.

The metrics of an evaluation:

``bits_per_byte``, ``bits_per_byte/SOURCE`` : of held-out text; one value a run; lower is better
``items/NAME`` : log acc_norm² (MiniMax-01, arXiv:2501.08313, section 4.1.3: the log-softmax over
    the choices, of log-probabilities a byte, at the right one); of each item; higher is better
``items/NAME/acc``, ``items/NAME/acc_norm`` : shares of items answered right; one value a run

What is measured per token is no measure between tokenizers: such metrics are refused where the runs
of a study have several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixtures.studies.analysis.records import RunRecord, StudyData
from mixtures.studies.errors import StudyError

Better = Literal["lower", "higher"]

BITS_PER_BYTE = "bits_per_byte"
ITEMS = "items/"
WHOLE = "all"
_SCORE = "log_acc_norm2"
_PER_TOKEN = ("loss", "nats", "nats_per_token", "loss_per_token", "perplexity", "ppl")
_LOWER = (*_PER_TOKEN, "bpb", "bits_per_byte", "error")
_HIGHER = ("acc", "acc_norm", _SCORE, "accuracy", "score", "exact_match", "f1")


@dataclass(frozen=True)
class ArmScores:
    """Finished runs of an arm: ``values`` float64 [runs, items], and the seed of each run."""

    seeds: tuple[int, ...]
    values: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Of each run over its items: float64 [runs]."""
        means: NDArray[np.float64] = self.values.mean(axis=1)
        return means

    def take(self, seeds: tuple[int, ...]) -> ArmScores:
        """The runs of some of its seeds, in their order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return ArmScores(seeds, self.values[rows])


@dataclass(frozen=True)
class Metric:
    """A metric and its scores of each arm that has a finished run.

    ``items`` is how many items each run answered, 1 where only one value a run is known.
    """

    name: str
    better: Better
    unit: str
    primary: bool
    items: int
    arms: Mapping[str, ArmScores] = field(repr=False)

    @property
    def whole(self) -> bool:
        """Whether it is no part of another metric, such as that of one source."""
        return self.primary or self.items > 1 or "/" not in self.name.removeprefix(ITEMS)

    @property
    def sign(self) -> int:
        """+1 where higher is better, -1 where lower is."""
        return 1 if self.better == "higher" else -1


def tokenizers(data: StudyData) -> list[str]:
    """The hashes of the tokenizers of the finished runs."""
    return sorted({run.tokenizer for run in data.runs if run.finished and run.tokenizer})


def collect_metrics(data: StudyData) -> tuple[list[Metric], list[tuple[str, str]]]:
    """All metrics of the finished runs, the primary one first; and those refused, each with why.

    Where the primary metric is refused, bits per byte decides in its place.

    Raises
    ------
    StudyError
        If finished runs lack a metric that others have, were asked different items, or no run has
        the primary metric.
    """
    finished = [run for run in data.runs if run.finished]
    if not finished:
        return [], []
    names = _names(finished)
    several = tokenizers(data)
    if data.primary not in names:
        raise StudyError(
            f"metrics.primary: found {data.primary!r}, expected a metric that the runs have: "
            f"{', '.join(names)}"
        )
    why = (
        f"it is measured per token, and the runs have {len(several)} tokenizers; {BITS_PER_BYTE} "
        "compares them"
    )
    refused = [(name, why) for name in names if len(several) > 1 and _per_token(name)]
    kept = [name for name in names if name not in dict(refused)]
    decides = data.primary if data.primary in kept else BITS_PER_BYTE
    metrics = [_metric(data, finished, name, name == decides) for name in kept]
    primary = [metric for metric in metrics if metric.primary]
    return [*primary, *(metric for metric in metrics if not metric.primary)], refused


def _names(finished: list[RunRecord]) -> list[str]:
    """The parts of all runs' metrics, those of items first named by their score."""
    parts = {(metric, part) for run in finished for metric, p in run.metrics.items() for part in p}
    return sorted({metric_name(metric, part) for metric, part in parts})


def metric_name(metric: str, part: str) -> str:
    """How a part of a metric is called: the whole, and the score of items, as the metric itself."""
    return metric if part in (WHOLE, _SCORE) else f"{metric}/{part}"


def _metric(data: StudyData, finished: list[RunRecord], name: str, primary: bool) -> Metric:
    arms: dict[str, ArmScores] = {}
    width = 0
    for arm in data.arms:
        runs = [run for run in finished if run.arm == arm]
        if not runs:
            continue
        rows = [_row(run, name) for run in runs]
        widths = {len(row) for row in rows} | ({width} if width else set())
        if len(widths) > 1:
            raise StudyError(
                f"{name}: arm {arm!r}: found runs with {_listed(widths)} items, expected the same "
                "items for every run of a study; run the study again"
            )
        width = widths.pop()
        arms[arm] = ArmScores(tuple(run.seed for run in runs), np.array(rows, np.float64))
    better = data.better.get(name) or _better(name)
    if better not in ("lower", "higher"):
        raise StudyError(
            f"metrics.better.{name}: found {better or 'nothing'}, expected lower or higher: which "
            "of two values of this metric is the better one"
        )
    return Metric(
        name=name,
        better="lower" if better == "lower" else "higher",
        unit=_unit(name),
        primary=primary,
        items=width,
        arms=arms,
    )


def _row(run: RunRecord, name: str) -> tuple[float, ...]:
    """The scores of a run's items, or its one value."""
    samples = run.samples.get(name)
    if samples:
        return samples
    for metric, parts in run.metrics.items():
        for part, value in parts.items():
            if metric_name(metric, part) == name:
                return (value,)
    raise StudyError(
        f"arm {run.arm!r}, seed {run.seed}: found no {name}, which other runs of this study have, "
        "expected the same metrics of every run; run the study again"
    )


def _better(name: str) -> str:
    words = name.replace("/", " ").replace(".", " ").split()
    if any(word in _HIGHER for word in words) or name.startswith(ITEMS):
        return "higher"
    if any(word in _LOWER or word.endswith(("_loss", "_bpb", "_ppl")) for word in words):
        return "lower"
    return "higher" if any(word.endswith(("_acc", "_acc_norm")) for word in words) else ""


def _per_token(name: str) -> bool:
    words = name.split("/")
    return any(word in _PER_TOKEN or word.endswith(("_loss", "_ppl")) for word in words)


def _unit(name: str) -> str:
    if name.split("/")[0] == BITS_PER_BYTE:
        return "bits per byte"
    if name.startswith(ITEMS):
        return "share of items" if name.endswith(("/acc", "/acc_norm")) else "log acc_norm²"
    return name.rpartition("/")[2]


def _listed(numbers: set[int]) -> str:
    return " and ".join(f"{number:,}" for number in sorted(numbers))
