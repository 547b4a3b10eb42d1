"""Numbers as people read them. Sizes are decimal: 1 MB is a million bytes."""

from __future__ import annotations

import math

from dataflow.report.markup import Safe, tag

_STEPS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k"))
_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"))


def _figures(value: float) -> str:
    """Three significant figures without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float, steps: tuple[tuple[float, str], ...], unit: str) -> str:
    for size, name in steps:
        # 999,950 already rounds to 1 M at three figures.
        if abs(value) >= size * 0.9995:
            return _figures(value / size) + name
    return _figures(value) + unit


def exact(value: int) -> str:
    """All digits, grouped by thousands."""
    return f"{value:,}"


def compact(value: float) -> str:
    """A count at three figures: ``12.3 k``, ``4.56 M``, ``7 B``."""
    if isinstance(value, int) and abs(value) < 10_000:
        return f"{value:,}"
    return _scaled(value, _STEPS, "")


def size(value: float) -> str:
    """Bytes at three figures."""
    return _scaled(value, _BYTES, " B")


def percent(part: float, whole: float) -> str:
    """A share; small ones are never shown as zero, nor nearly all as all."""
    if whole == 0:
        return "–"
    share = 100 * part / whole
    if part and share < 0.1:
        return "< 0.1 %"
    if part != whole and share > 99.9:
        return "> 99.9 %"
    return f"{share:.1f} %" if share < 99.95 else "100 %"


def plain(value: float) -> str:
    """A signal's value or a threshold: integers whole, others at four figures."""
    if math.isinf(value) or math.isnan(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 1e-4:
        return f"{value:.2g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """``42 ms``, ``3.8 s``, ``38 s``, ``4 min 12 s``, ``3 h 05 min``, ``2.4 days``."""
    if 0 < seconds < 0.9995:
        return f"{_figures(seconds * 1000)} ms" if seconds >= 0.001 else "< 1 ms"
    if seconds < 10:
        return f"{_figures(seconds)} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{_figures(seconds / 86_400)} days"


def count(value: int) -> Safe:
    """A compact count that shows all its digits on hover."""
    return tag("span", compact(value), title=exact(value))


def bytes_(value: int) -> Safe:
    """A compact size that shows all its bytes on hover."""
    return tag("span", size(value), title=f"{exact(value)} bytes")
