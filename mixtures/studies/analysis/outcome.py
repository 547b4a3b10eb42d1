"""What an analysis says: plain records, which ``analysis.json`` holds and the report draws.

An effect is the arm's mean less the baseline's, in the metric's own unit, so that its sign is that
of the numbers; ``verdict`` says which of the two is the better one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from mixtures.statistics import RiseDifference

FORMAT = "leyden.study-analysis"
VERSION = 1

Verdict = Literal["better", "worse", "not shown", "not tested"]


@dataclass(frozen=True)
class ArmSummary:
    """The finished runs of an arm on one metric: a value of each seed, their mean and standard
    deviation (None of a single run)."""

    arm: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Comparison:
    """An arm against another, the unit being the training run.

    ``alternative`` is the one-sided hypothesis, of the effect; ``low`` to ``high`` the two-sided
    interval of level 1 - alpha; ``boot_low`` to ``boot_high`` that of a bootstrap over runs and
    items. ``p_adjusted`` is Holm's, over ``family`` tests. ``mde`` is the smallest effect that the
    design, with the variances found, detects with the study's power. ``note`` says what limits the
    test, or why there is none.
    """

    arm: str
    against: str
    verdict: Verdict
    note: str = ""
    alternative: str = ""
    method: str = ""
    paired: bool = False
    runs: tuple[int, int] = (0, 0)
    items: int = 1
    effect: float | None = None
    se: float | None = None
    df: float | None = None
    low: float | None = None
    high: float | None = None
    boot_low: float | None = None
    boot_high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    family: int = 0
    mde: float | None = None
    components: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Discrimination:
    """Whether a metric tells good from bad: the gap of an obvious pair over the standard deviation
    between seeds.

    ``by_pairs``: single runs do not tell, the test of pairs of equal seeds does; ``reversed``: it
    tells them apart and takes the bad one for the good.
    """

    obvious: str
    against: str
    gap: float
    sigma_seed: float
    ratio: float
    low: float
    high: float
    tells: bool
    by_pairs: bool
    reversed: bool
    text: str


@dataclass(frozen=True)
class NullCheck:
    """The null arm against the baseline, of which it differs in its documents and seeds alone."""

    arm: str
    comparison: Comparison
    margin: float | None
    equivalent: bool | None
    passed: bool | None
    text: str


@dataclass(frozen=True)
class Ordering:
    """Arms by their dose, the baseline first: whether each is worse than the one before."""

    arms: tuple[str, ...]
    doses: tuple[float, ...]
    means: tuple[float, ...]
    monotone: bool
    steps: tuple[Comparison, ...]
    text: str


@dataclass(frozen=True)
class PowerTable:
    """The smallest detectable effect of designs, by the variances of the test of ``arm``:
    ``mde[i][j]`` of ``seeds[i]`` runs an arm and
    ``items[j]`` items; and the least runs an arm, at each number of items, that detect ``target``
    (None: more than the table looked for)."""

    against: str
    arm: str
    seeds: tuple[int, ...]
    items: tuple[int, ...]
    mde: tuple[tuple[float, ...], ...]
    target: float
    target_text: str
    needed: tuple[int | None, ...]


@dataclass(frozen=True)
class MetricAnalysis:
    """All that is said by one metric."""

    name: str
    unit: str
    better: str
    primary: bool
    items: int
    sigma_seed: float | None
    arms: tuple[ArmSummary, ...]
    comparisons: tuple[Comparison, ...]
    discrimination: Discrimination | None
    discrimination_note: str
    nulls: tuple[NullCheck, ...]
    ordering: Ordering | None
    power: PowerTable | None


@dataclass(frozen=True)
class TierPoint:
    """An arm of a study of repetition: epochs, and the loss of each of its runs."""

    arm: str
    epochs: float
    seeds: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Span:
    """A number of epochs with its two-sided interval of level 1 - alpha."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TierTurning:
    """Where a tier's loss turns under repetition, as ``statistics.turning`` finds it.

    ``least`` are the epochs of least loss, ``knee`` those from which it rises, ``half_worth`` those
    from which a token read again is worth less than half of a fresh one, ``worse_from`` the fewest
    of the study from which on the loss is shown to be above that of the fewest epochs. What the
    data do not identify is None, and ``notes`` says why. ``curve`` is the fit, (epochs, loss), of
    the kind ``curve_is``.
    """

    tier: str
    points: tuple[TierPoint, ...]
    least: Span | None
    knee: Span | None
    half_worth: Span | None
    worse_from: float | None
    curve: tuple[tuple[float, float], ...]
    curve_is: str
    notes: dict[str, str]


@dataclass(frozen=True)
class RiseGap:
    """What ``epochs`` instead of the fewest cost tier ``one`` and tier ``other``, and the
    difference (`mixtures.statistics.rises`)."""

    one: str
    other: str
    rises: RiseDifference


@dataclass(frozen=True)
class Repetition:
    """A study of repetition: each tier, what lies between the tiers, and the sentence."""

    metric: str
    unit: str
    tiers: tuple[TierTurning, ...]
    differences: tuple[str, ...]
    gaps: tuple[RiseGap, ...]
    text: str


@dataclass(frozen=True)
class Analysis:
    """A study's analysis. ``warnings`` come before everything else wherever it is told."""

    study: str
    question: str
    kind: str
    baseline: str
    primary: str
    alpha: float
    power: float
    complete: bool
    decision: str
    warnings: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    metrics: tuple[MetricAnalysis, ...]
    repetition: Repetition | None
    planned: int
    finished: int

    def as_json(self) -> dict[str, Any]:
        """For ``analysis.json``."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def encoded(self) -> bytes:
        return orjson.dumps(self.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
