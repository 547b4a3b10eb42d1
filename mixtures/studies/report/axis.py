"""Axes of a study's charts: values to places, and where the marks stand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dataflow.report.scales import nice


@dataclass(frozen=True)
class Axis:
    """Maps ``low`` to ``high`` onto ``start`` to ``end``, linearly or by logarithm (base 2)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = (math.log2(v) for v in (low, high, value))
        share = (at - low) / (high - low or 1)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the axis; of a logarithmic one, powers of two."""
        if self.log:
            first, last = math.ceil(math.log2(self.low) - 1e-9), math.floor(math.log2(self.high))
            every = max(1, math.ceil((last - first) / max(about, 1)))
            return [2.0**k for k in range(first, last + 1, every)]
        step = nice((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def spanning(values: Iterable[float], start: float, end: float, margin: float = 0.06) -> Axis:
    """A linear axis that shows all values with a margin around them."""
    shown = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(shown), max(shown)
    room = (high - low) * margin or max(abs(high) * margin, 1e-6)
    return Axis(low - room, high + room, start, end)


def mark(value: float, axis: Axis) -> str:
    """A value at an axis' precision: no more digits than tell its marks apart."""
    if axis.log:
        return f"{value:g}"
    step = nice((axis.high - axis.low) / 5)
    digits = min(max(0, -math.floor(math.log10(step) + 1e-9)), 6)
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1  # 2.5 times a power of ten
    text = f"{value:,.{digits}f}"
    return text[1:] if text.startswith("-") and not float(text.replace(",", "")) else text
