"""Scatter charts: how two quantities are related, how many points there are."""

from __future__ import annotations

from collections.abc import Sequence

from vl_data.synthesis.charts.axes import set_value_scale
from vl_data.synthesis.charts.figure import new_chart, rgba
from vl_data.synthesis.charts.questions import COUNT, RELATION, choices
from vl_data.synthesis.colours import seen_on, shade
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.figures import QUANTITIES
from vl_data.synthesis.phrasings import ask, numbers_near
from vl_data.synthesis.sample import Frame, Made

RELATIONS = ("positive", "negative", "none")
FEWEST, MOST = 6, 12
_TOP = 20


def related(draws: Draws, relation: str, count: int) -> list[tuple[int, int]]:
    """``count`` points of 1 … 19 a side whose Pearson r is beyond .8, or within .2 of none.

    Drawn again until they are, and until no two would hide each other; r² is compared by whole
    numbers, so that no rounding has a part in it.
    """
    while True:
        if relation == "none":
            points = [
                (draws.between(1, _TOP - 1), draws.between(1, _TOP - 1)) for _ in range(count)
            ]
        else:
            xs = draws.picks(range(2, _TOP - 1), count)
            points = [(x, max(1, min(_TOP - 1, x + draws.between(-3, 3)))) for x in xs]
        if relation == "negative":
            points = [(x, _TOP - y) for x, y in points]
        if _correlated(points) == relation and _apart(points):
            return points


def _correlated(points: Sequence[tuple[int, int]]) -> str | None:
    """The relation of the points; None: neither clear nor none."""
    n = len(points)
    sum_x, sum_y = sum(x for x, _ in points), sum(y for _, y in points)
    shared = n * sum(x * y for x, y in points) - sum_x * sum_y
    own = (n * sum(x * x for x, _ in points) - sum_x**2) * (
        n * sum(y * y for _, y in points) - sum_y**2
    )
    if 25 * shared**2 <= own:
        return "none"
    if 25 * shared**2 >= 16 * own:
        return "positive" if shared > 0 else "negative"
    return None


def _apart(points: Sequence[tuple[int, int]]) -> bool:
    return all(
        max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= 2
        for i, a in enumerate(points)
        for b in points[:i]
    )


def make(draws: Draws, frame: Frame) -> Made:
    """Six to twelve points in one colour."""
    chart = new_chart(draws, frame)
    relation = draws.pick(RELATIONS)
    count = draws.between(FEWEST, MOST)
    points = related(draws, relation, count)
    colour = rgba(shade(draws, draws.pick(seen_on(chart.paper))))
    open_points = frame.layout == "points-open"
    side = max(3.2, frame.side / 42)
    chart.axes.scatter(
        [x for x, _ in points],
        [y for _, y in points],
        s=side**2,
        marker="o" if not open_points else "D",
        facecolors="none" if open_points else colour,
        edgecolors=colour,
        linewidths=side / 4,
    )
    for along in "xy":
        set_value_scale(chart, 5, _TOP, along)
    titles = draws.picks(QUANTITIES, 2)
    if chart.labelled:
        chart.axes.set_xlabel(titles[0])
        chart.axes.set_ylabel(titles[1])
    turns = [
        ask(draws, RELATION, relation, RELATIONS, options=choices(draws, RELATIONS)),
        ask(draws, COUNT, str(count), numbers_near(draws, count, FEWEST, MOST), items="points"),
    ]
    told = f"A scatter chart of {count} points. Correlation: {relation}."
    truth = {"points": [list(point) for point in points], "correlation": relation}
    return Made(chart.image(frame), draws.shuffled(turns), told, truth)
