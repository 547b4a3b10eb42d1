"""Numbers of tokens as people write them in a study: ``256Ki``, ``1M``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {
    "": 1,
    **{name: 1000 ** (i + 1) for i, name in enumerate("KMBT")},
    **{name + "i": 1024 ** (i + 1) for i, name in enumerate("KMGT")},
}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


def parse_tokens(value: Any) -> int:
    """Tokens of a whole number, or of one with a unit, as the trainer's options take them.

    Raises
    ------
    ValueError
        If it is neither, or no whole number of tokens.
    """
    match = None if isinstance(value, bool) else _NUMBER.fullmatch(str(value).strip())
    if match is not None and match[2] in _UNITS:
        amount = Fraction(match[1]) * _UNITS[match[2]]
        if amount.denominator == 1:
            return int(amount)
    raise ValueError(f"found {value!r}, expected a number of tokens such as 8192, 256Ki or 10M")


Tokens = Annotated[int, BeforeValidator(parse_tokens), Field(gt=0, lt=1 << 62)]
"""A positive number of tokens."""
