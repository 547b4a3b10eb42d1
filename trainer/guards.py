"""What stops a run before it is spoilt: losses that are no numbers, spikes, exploding gradients."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["stop", "roll_back", "skip", "ignore"]
"""What is done about a bad step; where several find it bad, what stands first here is done."""


class GuardSettings(BaseModel):
    """When a step is bad, and what to do then.

    A step is bad when its loss or gradient norm is NaN or infinite, or when the loss lies
    ``spike`` robust deviations above the median of the last ``window`` good steps, or the gradient
    norm ``gradient`` times above theirs. Nothing is judged a spike before ``window`` steps.

    ``not_finite`` and ``on_spike``: ``stop`` ends the run before the weights are changed;
    ``roll_back`` goes back to the last checkpoint before the step and leaves the step out
    (``RollBackSettings``); ``skip`` leaves the weights as they are and goes on with the next batch;
    ``ignore`` only says so.

    ``most_skipped``: steps in a row that may be skipped, by any guard or because nothing is to be
    learned from them; where the next one would be too, the run stops, for it learns no more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    not_finite: Action = "stop"
    on_spike: Action = "ignore"
    spike: float = Field(default=10.0, gt=0)
    gradient: float = Field(default=20.0, gt=1)
    window: int = Field(default=64, ge=8)
    most_skipped: int = Field(default=10, ge=0)


class RollBackSettings(BaseModel):
    """How far a run goes back, and how often; for every guard whose action is ``roll_back``.

    ``before``: how many steps before the bad one are left out with it. The run goes back to the
    last checkpoint that lies before all of these, or where none is kept that old to the oldest one.
    PaLM went back about 100 steps and left out 200 to 500 batches around a spike: the data and the
    weights they meet make one together (arXiv:2204.02311, section 5.1). With 0, the step alone is
    left out: on a machine without faults that comes to ``skip``, for the steps since the checkpoint
    come again as they were; it undoes what a fault has changed in weights or optimizer since.
    ``most``: rollbacks in a stage, after which a bad step stops the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: int = Field(default=0, ge=0)
    most: int = Field(default=3, ge=0)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a step, and what is done about it."""

    action: Action
    what: str


def worst(findings: Iterable[Finding | None]) -> Finding | None:
    """The finding with the gravest action, the first of equals; None where nothing was found."""
    gravity = get_args(Action)
    return min(
        (finding for finding in findings if finding is not None),
        key=lambda finding: gravity.index(finding.action),
        default=None,
    )


class Guard:
    """Judges one step after another; equal on all ranks that see equal numbers."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self._losses: deque[float] = deque(maxlen=settings.window)
        self._norms: deque[float] = deque(maxlen=settings.window)

    def judge(self, loss: float, gradient_norm: float) -> Finding | None:
        """None for a good step, which later ones are compared with."""
        settings = self.settings
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            what = f"found loss {loss} and gradient norm {gradient_norm}, expected finite numbers"
            return Finding(settings.not_finite, what)
        if len(self._losses) == settings.window:
            middle, spread = _robust(self._losses)
            usual = _robust(self._norms)[0]
            if loss > middle + settings.spike * spread:
                return Finding(
                    settings.on_spike, f"found loss {loss:.4f} after a median of {middle:.4f}"
                )
            if gradient_norm > settings.gradient * usual:
                what = f"found gradient norm {gradient_norm:.3f} after a median of {usual:.3f}"
                return Finding(settings.on_spike, what)
        self._losses.append(loss)
        self._norms.append(gradient_norm)
        return None

    def state(self) -> dict[str, list[float]]:
        """What a resumed run needs to judge as this one would have."""
        return {"losses": list(self._losses), "norms": list(self._norms)}

    def restore(self, state: dict[str, list[float]]) -> None:
        """Go on from :meth:`state`."""
        self._losses = deque(state["losses"], self.settings.window)
        self._norms = deque(state["norms"], self.settings.window)


def _robust(values: deque[float]) -> tuple[float, float]:
    """Median, and the median distance from it, which is not taken below a thousandth of it."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    spread = sorted(abs(x - middle) for x in ordered)[len(ordered) // 2]
    return middle, max(spread, abs(middle) * 1e-3)
