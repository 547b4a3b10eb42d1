"""The family of charts: a layout's name begins with the module that draws it."""

from __future__ import annotations

from vl_data.synthesis.charts import bars, lines, pies, points
from vl_data.synthesis.charts.figure import settings
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.sample import Family, Frame, Layouts, Made

_MAKERS = {"bars": bars.make, "line": lines.make, "pie": pies.make, "points": points.make}


def make(draws: Draws, frame: Frame) -> Made:
    """A chart of the frame's layout."""
    with settings():
        return _MAKERS[frame.layout.split("-")[0]](draws, frame)


FAMILY = Family(
    "charts",
    make,
    Layouts(
        ("bars-upright", "bars-numbered", "line-plain", "line-marked", "pie-full", "points-full"),
        ("bars-lying", "line-area", "pie-ring", "points-open"),
    ),
)
