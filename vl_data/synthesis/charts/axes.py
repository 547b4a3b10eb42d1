"""Scales from which values can be read exactly: all values are multiples of the ticks' step."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from vl_data.synthesis.charts.figure import Chart, rgba
from vl_data.synthesis.draws import Draws

_STEPS = (1, 2, 5, 10, 20, 25, 50, 100)


def spread_values(draws: Draws, count: int, most: int = 10) -> tuple[list[int], int]:
    """``count`` different values, and the step all are multiples of (1 … ``most`` steps)."""
    step = draws.pick(_STEPS)
    return [n * step for n in draws.picks(range(1, most + 1), count)], step


def set_value_scale(chart: Chart, step: int, top: int, along: str = "y") -> None:
    """Ticks at every step from 0 on, with rules across the chart."""
    axes = chart.axes
    ticks = list(range(0, top + 1, step))
    _limits(axes, along, 0, top + step * 0.4)
    if not chart.labelled:
        return
    (axes.set_yticks if along == "y" else axes.set_xticks)(ticks)
    axes.grid(
        visible=True, axis="y" if along == "y" else "x", color=rgba(_faint(chart)), linewidth=0.6
    )
    axes.set_axisbelow(True)


def set_names(chart: Chart, at: Sequence[float], names: Sequence[str], along: str = "x") -> None:
    """Names under (or beside) what they name; none where there is no room for text."""
    if not chart.labelled:
        return
    if along == "x":
        widest = sum(len(name) for name in names) * chart.em * 0.75
        turned = 45 if widest > chart.figure.get_figwidth() * 75 else 0
        chart.axes.set_xticks(at, names, rotation=turned)
    else:
        chart.axes.set_yticks(at, names)


def _limits(axes: Axes, along: str, low: float, high: float) -> None:
    if along == "y":
        axes.set_ylim(low, high)
    else:
        axes.set_xlim(low, high)


def _faint(chart: Chart) -> tuple[int, int, int]:
    """A colour between paper and ink, nearer to the paper."""
    red, green, blue = (p + (i - p) // 4 for p, i in zip(chart.paper, chart.ink, strict=True))
    return red, green, blue
