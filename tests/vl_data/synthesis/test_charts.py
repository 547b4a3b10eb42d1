"""Charts: all text is inside the picture, and series are of the kind they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from vl_data.synthesis.charts.figure import Chart
from vl_data.synthesis.charts.lines import TRENDS, trend_values
from vl_data.synthesis.charts.pies import shares
from vl_data.synthesis.charts.points import RELATIONS, related
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.sample import Frame, Split
from vl_data.synthesis.synthesise import Settings, synthesise
from vl_data.synthesis.texts import TextPool


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_no_text_of_a_chart_is_cut_off(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Chart.image
    seen = 0

    def checked(chart: Chart, frame: Frame) -> Image.Image:
        nonlocal seen
        image = drawn(chart, frame)
        for text in chart.figure.findobj(Text):
            assert isinstance(text, Text)
            if not text.get_visible() or not text.get_text():
                continue
            box = text.get_window_extent()
            seen += 1
            inside = box.x0 >= -1 and box.y0 >= -1
            inside &= box.x1 <= frame.width + 1 and box.y1 <= frame.height + 1
            assert inside, f"{text.get_text()!r} of {frame.layout} at {box.extents}"
        return image

    monkeypatch.setattr(Chart, "image", checked)
    settings = Settings(seed=1, size=320, families=("charts",), split=split, aspects="mixed")
    for number in range(40):
        synthesise(number, settings, TextPool())
    assert seen > 200


def test_lines_run_as_they_are_said_to() -> None:
    draws = Draws("trends")
    signs = {"rising": [1], "falling": [-1], "rising then falling": [1, -1],
             "falling then rising": [-1, 1]}  # fmt: skip
    for _ in range(50):
        for trend in TRENDS:
            values = trend_values(draws, trend, draws.between(4, 8))
            steps = np.sign(np.diff(values)).tolist()
            runs = [sign for i, sign in enumerate(steps) if i == 0 or sign != steps[i - 1]]
            assert runs == signs[trend]
            assert len(set(values)) == len(values)


def test_shares_sum_to_a_hundred_and_differ() -> None:
    draws = Draws("shares")
    for _ in range(200):
        found = shares(draws, draws.between(2, 5))
        assert sum(found) == 100
        gaps = np.diff(sorted(found))
        assert min(found) >= 5
        assert (gaps >= 3).all()


def test_points_correlate_as_they_are_said_to() -> None:
    draws = Draws("points")
    for _ in range(60):
        for relation in RELATIONS:
            x, y = np.array(related(draws, relation, draws.between(6, 12))).T
            r = float(np.corrcoef(x, y)[0, 1])
            assert {
                "positive": r >= 0.799, "negative": r <= -0.799, "none": abs(r) <= 0.201
            }[relation]  # fmt: skip
