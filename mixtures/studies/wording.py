"""Numbers of a study in words: effects, intervals, probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


def number(value: float, figures: int = 3) -> str:
    """A value at so many significant figures, without an exponent where it can be read so."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: f"{_MINUS}∞"}.get(value, "–")
    digits = figures - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{max(digits, 0)}f}" if digits <= 7 else f"{value:.{figures - 1}e}"
    return text.replace("-", _MINUS)


def signed(value: float, figures: int = 3) -> str:
    """With its sign."""
    return ("+" if value > 0 else "") + number(value, figures)


def interval(low: float, high: float, figures: int = 3) -> str:
    """From low to high at the precision of the wider one."""
    return f"{aligned(low, max(abs(low), abs(high)), figures)} to " + aligned(
        high, max(abs(low), abs(high)), figures
    )


def aligned(value: float, scale: float, figures: int = 3) -> str:
    """A signed value at the digits that ``scale`` needs for so many figures."""
    if scale == 0 or not math.isfinite(scale) or not math.isfinite(value):
        return signed(value, figures)
    digits = min(max(figures - 1 - math.floor(math.log10(scale)), 0), 8)
    text = f"{value:+.{digits}f}"
    return text.replace("-", _MINUS) if float(text) else "0"


def probability(p: float) -> str:
    """``p = .012``, which no line breaks; small ones as a bound."""
    if p < 0.0001:
        return f"p{_SPACE}<{_SPACE}.0001"
    digits = 4 if p < 0.001 else 3 if p < 0.1 else 2
    text = f"{p:.{digits}f}"
    return f"p{_SPACE}={_SPACE}{text[1:] if text.startswith('0') else text}"


def bare(p: float) -> str:
    """The number of a probability alone, for a column that says what it is."""
    return probability(p)[2:].replace(_SPACE, " ").removeprefix("= ")


def percent(share: float) -> str:
    """A level such as 95 %."""
    return f"{100 * share:g} %"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(amount: int, noun: str) -> str:
    """``1 run``, ``4 runs``."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"
