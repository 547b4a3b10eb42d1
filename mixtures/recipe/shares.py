"""Shares as people write them: ``40%``, ``0.4``, ``2/5``; exact."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?) ?(%|/ ?([0-9]+))?")


def parse_ratio(value: Any) -> Fraction:
    """The ratio of ``40%``, ``0.4``, ``2/5`` or 2. 0.1 is a tenth, and not the binary number
    nearest to it.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if isinstance(value, Fraction):
        return value
    text = repr(value) if isinstance(value, float) else str(value).strip()
    found = None if isinstance(value, bool) else _NUMBER.fullmatch(text)
    if found is None or (found[3] is not None and not int(found[3])):
        raise ValueError(f"found {value!r}, expected a share such as 40%, 0.4 or 2/5")
    if found[2] == "%":
        return Fraction(found[1]) / 100
    return Fraction(found[1]) / int(found[3] or 1)


def parse_share(value: Any) -> Fraction:
    """`parse_ratio`, from 0 to 1.

    Raises
    ------
    ValueError
        If it is none, or above 1.
    """
    share = parse_ratio(value)
    if share > 1:
        raise ValueError(f"found {value!r}, expected a share of at most 100%, such as 40% or 0.4")
    return share


def percent(share: Fraction, digits: int = 2) -> str:
    """A share for people: ``40%``, ``33.33%``."""
    return f"{float(share) * 100:.{digits}f}".rstrip("0").rstrip(".") + "%"


_AS_TEXT = PlainSerializer(str, return_type=str)
Ratio = Annotated[Fraction, BeforeValidator(parse_ratio), _AS_TEXT]
Share = Annotated[Fraction, BeforeValidator(parse_share), _AS_TEXT]
"""Ratios and shares; JSON holds them as text."""
