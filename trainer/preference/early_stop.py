"""When a stage of preferences ends before its budget: the held-out loss has stopped falling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trainer.preference.recipe import EarlyStop


@dataclass(frozen=True)
class Measured:
    """Held-out pairs after a step.

    ``pairs`` were measured; ``loss``, ``margin`` and ``accuracy`` are means over them.
    """

    step: int
    pairs: int
    loss: float
    margin: float
    accuracy: float

    def as_json(self) -> dict[str, Any]:
        """For metrics and checkpoints."""
        return asdict(self)


class Patience:
    """What was measured so far, and whether that is enough; part of a checkpoint's state."""

    def __init__(self, settings: EarlyStop) -> None:
        self.settings = settings
        self.measured: list[Measured] = []

    def is_due(self, step: int) -> bool:
        """Whether pairs are measured after so many steps."""
        return step % self.settings.every == 0

    def note(self, measured: Measured) -> None:
        """Take a measurement in."""
        self.measured.append(measured)

    @property
    def ended(self) -> str:
        """Why the stage ends; empty where it goes on."""
        if not self.measured or self.measured[-1].pairs < self.settings.fewest:
            return ""
        # The first of equals: a loss that stays where it is does not fall.
        best = min(range(len(self.measured)), key=lambda i: self.measured[i].loss)
        since = len(self.measured) - 1 - best
        if since < self.settings.patience:
            return ""
        lowest = self.measured[best]
        return (
            f"the loss of {lowest.pairs} held-out pairs has not fallen in {since} measurements "
            f"since step {lowest.step}, where it was {lowest.loss:.4f}"
        )

    def state(self) -> list[dict[str, Any]]:
        """JSON values."""
        return [one.as_json() for one in self.measured]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Go on from :meth:`state`."""
        self.measured = [Measured(**one) for one in state]
