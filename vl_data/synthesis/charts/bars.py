"""Bar charts: upright, with numbers on them, lying."""

from __future__ import annotations

from vl_data.synthesis.charts.axes import set_names, set_value_scale, spread_values
from vl_data.synthesis.charts.figure import new_chart, rgba
from vl_data.synthesis.charts.questions import named
from vl_data.synthesis.colours import COLOURS, shade
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.figures import NAMES, QUANTITIES
from vl_data.synthesis.sample import Frame, Made


def make(draws: Draws, frame: Frame) -> Made:
    """Two to six bars; where there is no room for names they are told apart by colour."""
    chart = new_chart(draws, frame)
    count = draws.between(2, 6 if chart.labelled else 5)
    values, step = spread_values(draws, count)
    colours = draws.picks(list(COLOURS), count)
    if chart.labelled and draws.coin():
        colours = colours[:1] * count
    names = draws.picks(draws.pick(NAMES), count) if chart.labelled else colours
    quantity = draws.pick(QUANTITIES) if chart.labelled else "value"
    paints = [rgba(shade(draws, colour)) for colour in colours]
    lying = frame.layout == "bars-lying"
    at, thick = list(range(count)), draws.uniform(0.55, 0.85)
    top = max(values)
    if lying:
        bars = chart.axes.barh(at, values, height=thick, color=paints)
        chart.axes.invert_yaxis()
    else:
        bars = chart.axes.bar(at, values, width=thick, color=paints)
    numbered = frame.layout == "bars-numbered" and chart.labelled
    along = "x" if lying else "y"
    if numbered:
        chart.axes.bar_label(bars, [str(value) for value in values])
        chart.axes.set_yticks([])
        chart.axes.set_ylim(0, top * 1.15)
    else:
        set_value_scale(chart, step, top, along)
    set_names(chart, at, names, "y" if lying else "x")
    if chart.labelled:
        chart.axes.set_title(quantity)
    data = dict(zip(names, values, strict=True))
    turns = named(
        draws, data, item="name" if chart.labelled else "colour", quantity=quantity,
        readable=chart.labelled, step=step, counted="bars",
    )  # fmt: skip
    told = ", ".join(f"{name} {value}" for name, value in data.items())
    if not chart.labelled:
        told = ", ".join(sorted(data, key=lambda name: -data[name]))
        told = f"from the largest to the smallest: {told}"
    return Made(
        chart.image(frame), turns, f"A bar chart of {quantity}: {told}.",
        {"values": data, "quantity": quantity},
    )  # fmt: skip
