"""Sizes in bytes as people write them: ``64MiB``, ``200MB``, ``4096``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{p}B": 1000 ** (i + 1) for i, p in enumerate(("k", "M", "G", "T"))},
    "KB": 1000,
    **{f"{p}iB": 1024 ** (i + 1) for i, p in enumerate("KMGT")},
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
EXPECTED = "a size such as 64MiB, 200MB or a whole number of bytes"


def parse_size(value: Any) -> int:
    """Bytes of a size: a whole number, or a number with a unit (kB, MB, GB, TB, KiB … TiB).

    Raises
    ------
    PydanticCustomError
        A ValueError, if it is neither, or not a whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in _UNITS:
        raise PydanticCustomError("size", EXPECTED)
    size = Decimal(match[1]) * _UNITS[match[2]]
    if size != size.to_integral_value():
        raise PydanticCustomError("size", EXPECTED)
    return int(size)


def format_size(size: int | float) -> str:
    """A size for people, to three digits, in powers of 1024: ``1.5 MiB``."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0, lt=1 << 60),
    WithJsonSchema({"type": "size"}),
]
"""A positive number of bytes."""
