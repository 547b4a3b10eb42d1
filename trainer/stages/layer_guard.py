"""Watches the gradient norm of every layer: where a jump in length goes wrong, it begins there.

MiniMax-M1 reports gradient explosions after large jumps of the training length in a model of
lightning attention: early layers decay fast, stay local, and lag behind the late ones
(arXiv:2506.13585, section 2.1). A global norm shows that late.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from trainer.guards import Action, Finding


class LayerGuardSettings(BaseModel):
    """When a layer's gradient is too large, and what to do then.

    A layer's norm is too large when it is not finite, or lies more than ``ratio`` times above the
    median of its own last ``window`` good steps, and above ``floor``, below which a norm is noise.
    Nothing finite is judged before half a window. ``action`` as in ``GuardSettings``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: float = Field(default=20.0, gt=1)
    floor: float = Field(default=1e-3, ge=0)
    window: int = Field(default=64, ge=8)
    action: Action = "ignore"


class LayerGuard:
    """Judges the layers of one step after another; equal on all ranks that see equal norms."""

    def __init__(self, settings: LayerGuardSettings) -> None:
        self.settings = settings
        self._norms: dict[str, deque[float]] = {}

    def judge(self, norms: Mapping[str, float], *, keep: bool = True) -> Finding | None:
        """None where all layers are good; else what the worst one did.

        Parameters
        ----------
        norms: gradient norms of a step by the name of the layer, over all ranks, before clipping.
        keep: whether later steps are compared with this one where it is good; not where something
            else was wrong with it.
        """
        worst: tuple[float, str, str] | None = None
        for layer, norm in norms.items():
            excess, what = self._excess(layer, norm)
            if excess > 1 and (worst is None or excess > worst[0]):
                worst = (excess, layer, what)
        if worst is not None:
            return Finding(self.settings.action, f"{worst[1]}: {worst[2]}")
        for layer, norm in norms.items() if keep else ():
            self._norms.setdefault(layer, deque(maxlen=self.settings.window)).append(norm)
        return None

    def _excess(self, layer: str, norm: float) -> tuple[float, str]:
        """How many times a norm is above its bound, and the sentence for it."""
        if not math.isfinite(norm):
            return math.inf, f"found gradient norm {norm}, expected a finite number"
        before = self._norms.get(layer, ())
        if len(before) < self.settings.window // 2:
            return 0.0, ""
        usual = median(before)
        bound = max(self.settings.ratio * usual, self.settings.floor)
        what = f"found gradient norm {norm:.4g} after a median of {usual:.4g}, "
        excess = norm / bound if bound else (math.inf if norm else 0.0)
        return excess, what + f"expected at most {bound:.4g}"

    def state(self) -> dict[str, list[float]]:
        """What a resumed run needs to judge as this one would have; JSON values."""
        return {layer: list(norms) for layer, norms in self._norms.items()}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Go on from :meth:`state`."""
        window = self.settings.window
        self._norms = {layer: deque(norms, window) for layer, norms in state.items()}
