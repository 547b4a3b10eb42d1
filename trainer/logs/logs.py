"""All logs of a run together, for the one process that writes them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from trainer.closing import Closing
from trainer.logs.boards import Board, TensorBoard, Wandb, has_tensorboard
from trainer.logs.metrics import MetricsFile
from trainer.logs.terminal import Terminal


class Logs(Closing):
    """Writes each step to ``metrics.jsonl``, to the boards, and to the terminal.

    Parameters
    ----------
    folder: the run's output; has ``metrics.jsonl`` and ``tensorboard/``.
    title: what runs, such as ``text_8k``.
    steps, total: the step that this run goes to, and the tokens that have been read then.
    done, tokens: steps and tokens done before, by the checkpoint; lines beyond are cut.
    json: print each step's JSON on standard output and show nothing on standard error.
    wandb: the project to log to on Weights & Biases, None for none.
    config: what wandb notes of the run.
    output: instead of standard output; for tests.

    Raises
    ------
    MetricsError, OSError
        As ``MetricsFile``.
    ModuleNotFoundError
        If wandb is asked for and not installed.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        steps: int,
        total: int,
        *,
        done: int = 0,
        tokens: int = 0,
        json: bool = False,
        wandb: str | None = None,
        config: Mapping[str, Any] | None = None,
        output: BinaryIO | None = None,
    ) -> None:
        self.json = json
        self._output = output
        self.boards: list[Board] = []
        if wandb is not None:
            name = folder.resolve().name
            self.boards.append(Wandb(folder / "wandb", wandb, name, config or {}))
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = MetricsFile(folder / "metrics.jsonl", done)
        if has_tensorboard():
            self.boards.append(TensorBoard(folder / "tensorboard", done))
        self.terminal = None if json else Terminal(title, steps, total, tokens)

    def step(self, record: Mapping[str, Any]) -> None:
        """Write a step that is done: the required fields of ``metrics.jsonl`` and any others.

        Others may be numbers, or lists or mappings of numbers, such as ``grad_norms`` by layer
        group, ``router`` load, ``mixture``, ``memory_bytes`` or ``wait_seconds``.
        """
        line = self.metrics.write(record)
        if self.json:
            self._print(line)
        for board in self.boards:
            board.write(record)
        if self.terminal is not None:
            self.terminal.step(record)

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Tell what is no step: a checkpoint, a bad shard, a stop.

        A line on standard error, or with ``json`` an object with ``event`` and ``message``.
        """
        if self.terminal is not None:
            self.terminal.say(text)
        else:
            self._print(orjson.dumps({"event": event, "message": text, **fields}))

    def sync(self) -> None:
        """Bring the metrics to the disk, before a checkpoint claims their steps."""
        self.metrics.sync()

    def close(self) -> None:
        """Close every log."""
        if self.terminal is not None:
            self.terminal.close()
        self.metrics.close()
        for board in self.boards:
            board.close()

    def _print(self, line: bytes) -> None:
        output = self._output
        if output is None:
            sys.stdout.flush()  # what was printed as text, such as how the stage before ended
            output = sys.stdout.buffer
        output.write(line + b"\n")
        output.flush()
