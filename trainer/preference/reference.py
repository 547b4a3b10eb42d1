"""Log-probabilities of a stage's pairs by the weights that it starts from.

They are computed once, before the first step, for every sequence that the stage will read and for
the held-out pairs, and kept in the run's folder:

``reference/log_probs.f64``
    little-endian float64 [rows, 2]: of each pair its chosen and its rejected answer's, in the order
    of `PairRows`; the plan's, then the held-out ones. NaN where a pair's shard was bad.
``reference/head.json``
    what they are of (``key``), how many there are, and their BLAKE3. It is written last.
``reference/log_probs.part``, ``reference/part.json``
    what a run that was ended before has of them, in whole steps; it goes on from there.

A pair has a row for each time that it is read: in another sequence its tokens meet others in the
experts, whose capacity they share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import blake3
import numpy as np
import numpy.typing as npt
import orjson
import torch
from torch import Tensor

from trainer.run.request import RunRefused

FOLDER = "reference"
_VALUES, _HEAD, _PART, _PART_HEAD = "log_probs.f64", "head.json", "log_probs.part", "part.json"
_DTYPE = np.dtype("<f8")
_ROW = 2 * _DTYPE.itemsize

Rows = npt.NDArray[np.float64]


class Work(Protocol):
    """The log-probabilities to compute, step by step; the same on every rank."""

    @property
    def ends(self) -> list[int]:
        """The row behind the last one of each step, ascending."""
        ...

    def rows(self, step: int) -> Rows:
        """Those of a step, fp64 [rows of the step, 2]; all ranks compute them together."""
        ...


class Reference:
    """A table that is whole.

    Attributes
    ----------
    hash : str
        BLAKE3 of its values.
    """

    def __init__(self, values: Rows, found: str) -> None:
        self._values = values
        self.hash = found

    def __len__(self) -> int:
        return len(self._values)

    def of(self, rows: Tensor) -> Tensor:
        """Log-probabilities of pairs by their rows, fp64 ``[pairs, 2]`` on the CPU."""
        return torch.from_numpy(np.array(self._values[rows.numpy()]))


def open_reference(folder: Path, key: str, rows: int, expected: str | None) -> Reference | None:
    """The table of a run's folder; None where there is none, or it is of something else.

    Parameters
    ----------
    expected : the hash that a checkpoint goes with; then there must be one of it.

    Raises
    ------
    RunRefused
        Where the table that a checkpoint goes with is not there.
    """
    path = folder / FOLDER / _VALUES
    head = _read(folder / FOLDER / _HEAD)
    whole = head is not None and path.is_file() and path.stat().st_size == rows * _ROW
    if whole and head is not None and (expected is not None or head.get("key") == key):
        values = np.fromfile(path, _DTYPE).reshape(-1, 2)
        found = _hash(values)
        if found == (head["blake3"] if expected is None else expected):
            return Reference(values, found)
    if expected is not None:
        raise RunRefused(
            f"{path}: found no table of {rows} pairs with BLAKE3 {expected[:16]}…, which the "
            "checkpoint goes on from: log-probabilities by the weights that the stage started "
            "from; restore the file, or begin the stage anew in another --out"
        )
    return None


def make_reference(
    folder: Path,
    key: str,
    work: Work,
    is_first: bool,
    agree: Callable[[int], int],
    told: Callable[[int], None] = lambda _: None,
) -> Reference:
    """Compute the table, or what is missing of it; every rank calls it and gets it.

    Parameters
    ----------
    key : what the values are of: the plan, the weights, the held-out pairs.
    is_first : whether this rank writes.
    agree : the first rank's number, on all.
    told : how many steps are done.
    """
    place = folder / FOLDER
    done = agree(_begun(place, key, work.ends) if is_first else 0)
    if is_first:
        (place / _PART_HEAD).write_bytes(orjson.dumps({"key": key}) + b"\n")
        (place / _PART).touch()
    for step in range(done, len(work.ends)):
        found = work.rows(step)
        if is_first:
            with (place / _PART).open("ab") as file:
                file.write(found.astype(_DTYPE).tobytes())
        told(step + 1)
    if is_first:
        _finish(place, key)
    agree(0)  # the first rank has written it
    values = np.fromfile(place / _VALUES, _DTYPE).reshape(-1, 2)
    return Reference(values, _hash(values))


def _finish(place: Path, key: str) -> None:
    """Make what was computed the table; the head comes last."""
    with (place / _PART).open("rb+") as file:
        os.fsync(file.fileno())
    (place / _PART).replace(place / _VALUES)
    values = np.fromfile(place / _VALUES, _DTYPE).reshape(-1, 2)
    head = {"key": key, "rows": len(values), "blake3": _hash(values)}
    part = place / f"{_HEAD}.part"
    part.write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2) + b"\n")
    part.replace(place / _HEAD)
    (place / _PART_HEAD).unlink()


def _begun(place: Path, key: str, ends: list[int]) -> int:
    """How many steps an earlier run has done; what is of another, or torn, is cut."""
    place.mkdir(parents=True, exist_ok=True)
    (place / _HEAD).unlink(missing_ok=True)
    part, head = place / _PART, _read(place / _PART_HEAD)
    if head is None or head.get("key") != key or not part.is_file():
        part.unlink(missing_ok=True)
        return 0
    rows = part.stat().st_size // _ROW
    done = sum(end <= rows for end in ends)
    os.truncate(part, (ends[done - 1] if done else 0) * _ROW)
    return done


def _read(path: Path) -> dict[str, Any] | None:
    """A head, None where there is none or a crash has torn it."""
    try:
        found = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _hash(values: Rows) -> str:
    return str(blake3.blake3(np.ascontiguousarray(values, _DTYPE).tobytes()).hexdigest())
