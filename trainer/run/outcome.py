"""How a run ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["finished", "paused", "stopped"]


@dataclass(frozen=True)
class Outcome:
    """What was reached; ``why`` tells a ``stopped`` run's reason.

    ``finished``: the stage's budget was read, or its early stop ended it, which ``why`` says.
    ``paused``: ``--steps`` or a signal ended it, and a checkpoint lets it go on. ``stopped``: a
    guard, a bad shard or another error ended it before a step that was not taken; ``checkpoint`` is
    of the steps before, or of earlier ones where they could not be saved.
    """

    state: State
    stage: str
    step: int
    steps: int
    tokens: int
    loss: float | None
    checkpoint: str | None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"ok": self.state != "stopped", **asdict(self)}
