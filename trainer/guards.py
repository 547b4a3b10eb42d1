"""What stops a run before it is spoilt: losses that are no numbers, spikes, exploding gradients."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["stop", "skip", "ignore"]


class GuardSettings(BaseModel):
    """When a step is bad, and what to do then.

    A step is bad when its loss or gradient norm is NaN or infinite, or when the loss lies
    ``spike`` robust deviations above the median of the last ``window`` good steps, or the gradient
    norm ``gradient`` times above theirs. Nothing is judged a spike before ``window`` steps.

    ``not_finite`` and ``on_spike``: ``stop`` ends the run before the weights are changed; ``skip``
    leaves the weights as they are and goes on with the next batch; ``ignore`` only says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    not_finite: Action = "stop"
    on_spike: Action = "ignore"
    spike: float = Field(default=10.0, gt=0)
    gradient: float = Field(default=20.0, gt=1)
    window: int = Field(default=64, ge=8)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a step, and what is done about it."""

    action: Action
    what: str


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
