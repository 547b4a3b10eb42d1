"""A training's folder in the store: who uses it, and whether its weights are still there."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

TRAIN, TRAINING, LOCK = "train", "training.json", "lock"
CHECKPOINTS = "checkpoints"
"""Where the trainer keeps them, in ``TRAIN``."""
KEPT = "kept"


class Stopping(Exception):
    """The study is being ended; what runs is ended too, and goes on another time."""


@contextmanager
def alone(folder: Path, stopping: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other study trains or measures this run.

    Raises
    ------
    Stopping
        If ``stopping`` says so before.
    """
    with _locked(folder, fcntl.LOCK_EX, stopping):
        yield


@contextmanager
def beside_others(folder: Path, stopping: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other study trains this run; others may measure it too, and none deletes it.

    Raises
    ------
    Stopping
        If ``stopping`` says so before.
    """
    with _locked(folder, fcntl.LOCK_SH, stopping):
        yield


@contextmanager
def _locked(folder: Path, kind: int, stopping: Callable[[], bool]) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("wb") as file:
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stopping():
                    raise Stopping from None
                time.sleep(1)
        yield


def has_weights(training: dict[str, Any]) -> bool:
    """Whether a finished training's weights were kept."""
    return bool(training.get(KEPT, True))


def drop_weights(folder: Path) -> None:
    """Delete a training's checkpoints. It is told first that they are gone: cut short in between,
    the run is trained again where another study wants it, and never half of it loaded."""
    training = read(folder / TRAINING)
    if training is not None and has_weights(training):
        write(folder / TRAINING, {**training, KEPT: False})
    shutil.rmtree(folder / TRAIN / CHECKPOINTS, ignore_errors=True)


def write(path: Path, content: Any) -> None:
    """A JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    part.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """A JSON file's object; None where there is no file."""
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return found
