"""TensorBoard, where it is installed, and wandb, where it is asked for."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from trainer.logs.flat import flat


class Board(Protocol):
    """Draws the numbers of steps."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Take the record of a step."""

    def close(self) -> None:
        """Write what is held back."""


class TensorBoard:
    """Event files in a folder; after a resume TensorBoard shows no step twice."""

    def __init__(self, folder: Path, done: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Events at purge_step and later, of files written before, are not shown.
        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def write(self, record: Mapping[str, Any]) -> None:
        """Take the numbers of a step."""
        for name, value in flat(record):
            if name != "step":
                self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Write what is held back."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; resumed under the id that its folder keeps.

    Raises
    ------
    ModuleNotFoundError
        If wandb is not installed.
    """

    def __init__(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> None:
        if not has_wandb():
            raise ModuleNotFoundError(
                "wandb: found no such package, expected it where its log is asked for; install it "
                "(pip install wandb) or leave the option out",
                name="wandb",
            )
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=project,
            name=name,
            id=_kept_id(folder),
            dir=str(folder),
            config=dict(config),
            resume="allow",
        )

    def write(self, record: Mapping[str, Any]) -> None:
        """Take the numbers of a step."""
        numbers = dict(flat(record))
        self._run.log(numbers, step=int(numbers.pop("step")))

    def close(self) -> None:
        """Upload what is held back."""
        self._run.finish()


def _kept_id(folder: Path) -> str:
    """Of the run in this folder: names of folders are shared by the stages of every model."""
    kept = folder / "wandb-id"
    if not kept.exists():
        kept.write_text(uuid.uuid4().hex[:16])
    return kept.read_text()


def has_wandb() -> bool:
    """Whether Weights & Biases is installed."""
    return importlib.util.find_spec("wandb") is not None


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed; a run does without where it is not."""
    return importlib.util.find_spec("tensorboard") is not None
