"""Line charts over months: how the line runs, single values, highest and lowest."""

from __future__ import annotations

from vl_data.synthesis.charts.axes import set_names, set_value_scale
from vl_data.synthesis.charts.figure import new_chart, rgba
from vl_data.synthesis.charts.questions import TREND, choices, named
from vl_data.synthesis.colours import seen_on, shade
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.figures import MONTHS, QUANTITIES
from vl_data.synthesis.phrasings import ask
from vl_data.synthesis.sample import Frame, Made

TRENDS = ("rising", "falling", "rising then falling", "falling then rising")
_STEPS = (1, 2, 5, 10, 50)


def trend_values(draws: Draws, trend: str, count: int) -> list[int]:
    """``count`` different whole numbers of 1 … 10 that run as said."""
    ordered = sorted(draws.picks(range(1, 11), count))
    if trend == "rising":
        return ordered
    if trend == "falling":
        return ordered[::-1]
    # All but the extreme are dealt to two sides of which each has some.
    rest = draws.shuffled(ordered[:-1] if trend == "rising then falling" else ordered[1:])
    cut = draws.between(1, len(rest) - 1)
    if trend == "rising then falling":
        return [*sorted(rest[:cut]), ordered[-1], *sorted(rest[cut:], reverse=True)]
    return [*sorted(rest[:cut], reverse=True), ordered[0], *sorted(rest[cut:])]


def make(draws: Draws, frame: Frame) -> Made:
    """Four to eight months of one quantity."""
    chart = new_chart(draws, frame)
    count = draws.between(4, 8)
    trend = draws.pick(TRENDS)
    step = draws.pick(_STEPS)
    values = [n * step for n in trend_values(draws, trend, count)]
    first = draws.between(0, len(MONTHS) - count)
    months = MONTHS[first : first + count]
    quantity = draws.pick(QUANTITIES) if chart.labelled else "value"
    colour = rgba(shade(draws, draws.pick(seen_on(chart.paper))))
    at = list(range(count))
    thick = max(1.2, frame.side / 160)
    if frame.layout == "line-area":
        chart.axes.fill_between(at, values, color=colour, alpha=0.6)
        chart.axes.plot(at, values, color=colour, linewidth=thick)
    elif frame.layout == "line-marked":
        marker = draws.pick(("o", "s", "^", "D"))
        chart.axes.plot(
            at, values, color=colour, linewidth=thick, marker=marker, markersize=3 * thick
        )
    else:
        chart.axes.plot(at, values, color=colour, linewidth=thick)
    set_value_scale(chart, step, max(values))
    set_names(chart, at, months)
    if chart.labelled:
        chart.axes.set_title(quantity)
        chart.axes.grid(visible=True, axis="x", alpha=0.3)
    data = dict(zip(months, values, strict=True))
    turns = [ask(draws, TREND, trend, TRENDS, options=choices(draws, TRENDS))]
    if chart.labelled:
        turns += named(
            draws, data, item="month", quantity=quantity, readable=True, step=step, count=1
        )
    told = f"A line chart of {quantity}. The line is {trend}."
    if chart.labelled:
        told += " " + ", ".join(f"{month} {value}" for month, value in data.items()) + "."
    truth = {"values": data, "quantity": quantity, "trend": trend}
    return Made(chart.image(frame), draws.shuffled(turns), told, truth)
