"""``metrics.jsonl``: one line a step, appended; after a resume, as if nothing had been repeated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from trainer.closing import Closing

REQUIRED = (
    "step",
    "tokens",
    "loss",
    "grad_norm",
    "lr",
    "tokens_per_second",
    "mfu",
    "dropped_tokens",
)
"""The fields of every line, in this order.

``step`` counts the steps done, this one included: a checkpoint of step N goes with lines 1 to N.
``tokens`` counts those of the stage likewise, in the schedule's unit: whole sequences, with the
padding behind their documents; so does ``tokens_per_second``. ``loss`` is the mean over the batch's
labels, in nats; ``grad_norm`` is taken before clipping; ``mfu`` is a part of 1, or null where the
device's rate is not known, and counts no work on padding; ``dropped_tokens`` counts slots that
experts dropped for want of capacity.
"""


class MetricsError(ValueError):
    """A metrics file that cannot be read or gone on with, or a line that lacks a field."""


class MetricsFile(Closing):
    """Appends lines to a metrics file; one process of a run has it open.

    Parameters
    ----------
    path: the file; its folder must exist.
    done: the steps that the run has done, by its checkpoint. Lines of later steps are cut: they
        will be done, and written, again.

    Raises
    ------
    MetricsError
        If the file has a line that is none of ours.
    OSError
        If the file cannot be written; a line that could not be written whole is cut next time.
    """

    def __init__(self, path: Path, done: int = 0) -> None:
        self.path = path
        self.step = cut(path, done)
        self._file: BinaryIO = path.open("ab")

    def write(self, record: Mapping[str, Any]) -> bytes:
        """Append one line and flush it to the system; returns it, without its newline.

        Numbers that are not finite are null, and the line's ``not_finite`` names them and says
        which they were: JSON has no such numbers, and they must not be lost.

        Raises
        ------
        MetricsError
            If a required field is missing, or the step does not come after the one before.
        """
        missing = [name for name in REQUIRED if name not in record]
        if missing:
            raise MetricsError(
                f"{self.path}: found a record without {', '.join(missing)}, expected all of "
                f"{', '.join(REQUIRED)}"
            )
        step = record["step"]
        if step <= self.step:
            raise MetricsError(
                f"{self.path}: found step {step} after step {self.step}, expected a later one; "
                "open the file with the steps that the checkpoint has"
            )
        line = encode({**{name: record[name] for name in REQUIRED}, **record})
        self._file.write(line + b"\n")
        self._file.flush()
        self.step = step
        return line

    def sync(self) -> None:
        """Bring what is written to the disk: before a checkpoint claims these steps."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; more than once is no error."""
        self._file.close()


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as one line of JSON, with NumPy numbers as plain ones."""
    odd: dict[str, str] = {}
    plain = _finite(record, "", odd)
    if odd:
        plain["not_finite"] = odd
    return orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS)


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file; a last line that was not written whole is left out.

    Raises
    ------
    MetricsError
        If another line is no record of a step, or the steps do not rise.
    """
    for record, _ in _lines(path):
        yield record


def cut(path: Path, done: int) -> int:
    """Drop the lines of steps after ``done``, and a torn last line; returns the last step left.

    The file is replaced by a whole new one, so that a crash leaves the old or the new. Where there
    is nothing to drop it is not touched.
    """
    if not path.exists():
        return 0
    keep = last = 0
    for record, end in _lines(path):
        if record["step"] > done:
            break
        keep, last = end, record["step"]
    if keep == path.stat().st_size:
        return last
    part = path.with_name(path.name + ".part")
    with path.open("rb") as source, part.open("wb") as target:
        left = keep
        while left:
            piece = source.read(min(left, 1 << 20))
            target.write(piece)
            left -= len(piece)
        target.flush()
        os.fsync(target.fileno())
    part.replace(path)
    return last


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Records, each with the byte at which its line ends."""
    end, before = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = orjson.loads(line)
                step = record["step"] if isinstance(record, dict) else None
            except (orjson.JSONDecodeError, KeyError):
                step = None
            if not isinstance(step, int) or step <= before:
                raise MetricsError(
                    f"{path}:{number}: found {line[:60]!r}, expected JSON of a step after "
                    f"{before}; move the file away, or give the run another --out"
                )
            before = step
            yield record, end


def _finite(value: Any, name: str, odd: dict[str, str]) -> Any:
    """The value without numbers that JSON lacks; ``odd`` gets their names."""
    if isinstance(value, Mapping):
        return {
            key: _finite(item, f"{name}.{key}" if name else str(key), odd)
            for key, item in value.items()
        }
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_finite(item, f"{name}[{i}]", odd) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        odd[name] = str(value)
        return None
    return value
