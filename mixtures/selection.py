"""What chooses a component's documents beside columns: conditions, dialects, parts; repeats."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from quality.dialects import DIALECTS

Op = Literal["<", "<=", ">", ">=", "==", "!="]

_CONDITION = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_HASHES = 1 << 64


@dataclass(frozen=True)
class Condition:
    """A signal compared with a number; a document that has no value for it does not match."""

    signal: str
    op: Op
    value: float

    @classmethod
    def parse(cls, written: str) -> Condition:
        """``gopher.words >= 50``.

        Raises
        ------
        ValueError
            If it is not a signal, a comparison and a finite number.
        """
        expected = "expected a signal, one of < <= > >= == != and a number, as gopher.words >= 50"
        found = _CONDITION.fullmatch(written)
        if found is None:
            raise ValueError(f"found condition {written!r}, {expected}")
        try:
            value = float(found[3])
        except ValueError:
            raise ValueError(f"found {found[3]!r} in condition {written!r}, {expected}") from None
        if not math.isfinite(value):
            raise ValueError(f"found {found[3]} in condition {written!r}, expected a finite number")
        return cls(found[1], cast(Op, found[2]), value)

    def __str__(self) -> str:
        return f"{self.signal} {self.op} {repr(self.value).removesuffix('.0')}"


class Part(BaseModel):
    """The documents whose hash with ``salt`` lies in [start, stop) of the unit interval.

    The hash is that of a document's near-duplicate cluster, or of its content where it has none:
    copies and near copies are all in a part or all out of it. Parts of one salt that do not overlap
    are disjoint samples, and a part of a wider one is a sample of it; parts of different salts are
    drawn independently.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    salt: str = Field(min_length=1, max_length=64)
    start: Fraction = Fraction(0)
    stop: Fraction = Fraction(1)

    @field_validator("start", "stop", mode="before")
    @classmethod
    def _exactly(cls, value: Any) -> Any:
        """0.1 is a tenth, and not the binary number nearest to it."""
        return Fraction(repr(value)) if isinstance(value, float) and math.isfinite(value) else value

    @field_serializer("start", "stop")
    def _as_written(self, value: Fraction) -> str:
        return str(value)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(
                f"found start {self.start} and stop {self.stop}, expected 0 <= start < stop <= 1"
            )
        return self

    def overlaps(self, other: Part) -> bool:
        """Whether a document can be in both: parts of other salts always share some."""
        if self.salt != other.salt:
            return True
        return self.start < other.stop and other.start < self.stop

    @property
    def hashes(self) -> tuple[int, int]:
        """The least hash of 64 bits that is in, and the least above that is not (maybe 2**64)."""
        return math.ceil(self.start * _HASHES), math.ceil(self.stop * _HASHES)


def known_dialects(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as given.

    Raises
    ------
    ValueError
        If one is no dialect, with the nearest that is.
    """
    for name in names:
        if name not in DIALECTS:
            near = difflib.get_close_matches(name, DIALECTS, 1)
            hint = f"; nearest is {near[0]!r}" if near else ""
            raise ValueError(
                f"found dialect {name!r}, expected one of {', '.join(DIALECTS)} "
                f"(`python -m quality dialects`){hint}"
            )
    return names


def check_repeat(repeat: dict[int, int], epochs: int) -> None:
    """
    Raises
    ------
    ValueError
        If times do not grow with the size from 1 on, or pass the cap on epochs.
    """
    expected = "expected sizes from 1 on and how often from each on, as {1: 1, 5: 2, 100: 3}"
    sizes = sorted(repeat)
    times = [repeat[size] for size in sizes]
    if not sizes or sizes[0] != 1 or min(times) < 1:
        raise ValueError(f"repeat: found {repeat}, {expected}")
    if times != sorted(times):
        raise ValueError(f"repeat: found {repeat}, expected no fewer times for a larger cluster")
    if times[-1] > epochs:
        raise ValueError(
            f"repeat: found {times[-1]} times for clusters of {sizes[-1]} and more, expected at "
            f"most epochs, which is {epochs}: no document may be read more often"
        )
