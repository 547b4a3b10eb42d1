"""Pie charts and rings: shares of a whole in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vl_data.synthesis.charts.figure import Chart, new_chart, rgba
from vl_data.synthesis.charts.questions import named
from vl_data.synthesis.colours import COLOURS, shade
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.figures import NAMES
from vl_data.synthesis.fonts import font
from vl_data.synthesis.sample import Frame, Made

_LIMIT = 1.25
"""Of the axes, in radii of the pie."""


def shares(draws: Draws, count: int) -> list[int]:
    """``count`` different whole percents that sum to 100, at least 5 and at least 3 apart.

    The smallest such set with a random part of what is left added to each and to all larger ones.
    """
    found = [5 + 3 * i for i in range(count)]
    left = 100 - sum(found)
    while left:
        # Raising the largest k by one keeps the gaps.
        k = draws.between(1, min(count, left))
        for i in range(count - k, count):
            found[i] += 1
        left -= k
    return draws.shuffled(found)


def _place(chart: Chart, frame: Frame, labels: Sequence[str]) -> None:
    """Room for the labels on all sides: they begin 1.1 radii from the middle."""
    widest = max(font(chart.face, math.ceil(chart.em)).getlength(label) for label in labels)
    across = frame.width / 2 - widest - 2
    down = frame.height / 2 - 1.3 * chart.em
    side = 2 * _LIMIT * min(across, down) / 1.1
    left, bottom = (frame.width - side) / 2, (frame.height - side) / 2
    chart.axes.set_position(
        (left / frame.width, bottom / frame.height, side / frame.width, side / frame.height)
    )
    chart.axes.set_xlim(-_LIMIT, _LIMIT)
    chart.axes.set_ylim(-_LIMIT, _LIMIT)
    chart.placed = True


def make(draws: Draws, frame: Frame) -> Made:
    """Two to five slices; with their percents written where there is room."""
    chart = new_chart(draws, frame)
    count = draws.between(2, 5)
    values = shares(draws, count)
    colours = draws.picks(list(COLOURS), count)
    paints = [rgba(shade(draws, colour)) for colour in colours]
    names = draws.picks(draws.pick(NAMES), count) if chart.labelled else colours
    labels = [f"{name} {value}%" for name, value in zip(names, values, strict=True)]
    chart.axes.pie(
        values,
        colors=paints,
        startangle=draws.below(360),
        labels=labels if chart.labelled else None,
        wedgeprops={"width": 0.45} if frame.layout == "pie-ring" else {},
        radius=1.0 if chart.labelled else 1.15,
    )
    if chart.labelled:
        _place(chart, frame, labels)
    data = dict(zip(names, values, strict=True))
    turns = named(
        draws, data, item="name" if chart.labelled else "colour", quantity="share in percent",
        readable=chart.labelled, counted="slices",
    )  # fmt: skip
    told = ", ".join(f"{name} {value}%" for name, value in data.items())
    return Made(chart.image(frame), turns, f"A pie chart. Shares: {told}.", {"values": data})
