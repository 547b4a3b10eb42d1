"""Numbers of tokens and scales as people write them: ``300B``, ``128Ki``, ``1/64``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

_UNITS = {
    "": 1,
    **{name: 1000 ** (i + 1) for i, name in enumerate("KMBT")},
    **{name + "i": 1024 ** (i + 1) for i, name in enumerate("KMGT")},
}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][0-9]+)?) ?([A-Za-z]*)")
_RATIO = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:/ ?([0-9]+))?")


def parse_tokens(value: Any) -> int:
    """Tokens of a whole number, or of a number with a unit.

    ``K``, ``M``, ``B`` and ``T`` are powers of 1000, ``Ki``, ``Mi``, ``Gi`` and ``Ti`` of 1024.

    Raises
    ------
    ValueError
        If it is neither, or not a whole number of tokens.
    """
    match = None if isinstance(value, bool) else _NUMBER.fullmatch(str(value).strip())
    if match is not None and match[2] in _UNITS:
        amount = Fraction(match[1]) * _UNITS[match[2]]
        if amount.denominator == 1:
            return int(amount)
    raise ValueError(
        f"found {value!r}, expected a number of tokens such as 8192, 128Ki (131,072) or 300B"
    )


def format_tokens(tokens: float) -> str:
    """Tokens for people, to three digits: ``43.5M``."""
    number, units = float(tokens), ["", "K", "M", "B", "T"]
    while abs(number) >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.3g}{units[0]}"


def parse_scale(value: Any) -> Fraction:
    """The scale of ``1/64``, ``0.25`` or 1, exactly.

    Raises
    ------
    ValueError
        If it is none of these, or not positive.
    """
    if isinstance(value, Fraction):
        scale = value
    else:
        match = None if isinstance(value, bool) else _RATIO.fullmatch(str(value).strip())
        over = int(match[2] or 1) if match is not None else 0
        scale = Fraction(match[1]) / over if match is not None and over else Fraction(0)
    if scale <= 0:
        raise ValueError(f"found {value!r}, expected a scale such as 1/64")
    return scale


Tokens = Annotated[int, BeforeValidator(parse_tokens), Field(gt=0, lt=1 << 62)]
"""A positive number of tokens."""
Scale = Annotated[Fraction, BeforeValidator(parse_scale), PlainSerializer(str, return_type=str)]
"""A positive ratio; JSON holds it as text."""
