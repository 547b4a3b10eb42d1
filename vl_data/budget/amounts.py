"""Numbers of tokens as people write them: ``512B``, ``32Ki``."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {"": 1} | {f"{unit}{binary}": (1024 if binary else 1000) ** power
                    for power, unit in enumerate("KMBT", 1) for binary in ("", "i")}  # fmt: skip
_UNITS["Gi"] = _UNITS.pop("Bi")
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


def tokens_of(text: str) -> int:
    """A positive whole number with a unit: K, M, B, T (of 1000), Ki, Mi, Gi, Ti (of 1024).

    Raises
    ------
    ValueError
        For anything else.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is not None and match[2] in _UNITS:
        amount = Fraction(match[1]) * _UNITS[match[2]]
        if amount >= 1 and amount.denominator == 1:
            return int(amount)
    raise ValueError(f"found {text!r}, expected a number of tokens such as 512B, 40M or 32Ki")


def shown(tokens: float) -> str:
    """To three digits, for people: ``43.5M``."""
    units = ["", "K", "M", "B", "T"]
    while abs(tokens) >= 999.5 and len(units) > 1:
        tokens /= 1000
        units.pop(0)
    return f"{tokens:.3g}{units[0]}"
