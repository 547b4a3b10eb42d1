"""Few rows are looked at first; what is blank does not depend on it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.vl_data.made_images import pixels
from vl_data.blank import CELLS, TOLERANCE, is_blank


def as_defined(shown: Image.Image) -> bool:
    """All cells at once."""
    cells = shown.reduce(max(1, min(shown.size) // CELLS))
    values = np.asarray(cells).reshape(-1, 3).astype(int)
    return bool((np.ptp(values, axis=0) <= TOLERANCE).all())


@pytest.mark.parametrize("size", [(1, 1), (70, 64), (127, 300), (128, 129), (400, 150), (650, 1)])
def test_it_is_that_of_all_cells(size: tuple[int, int]) -> None:
    draw = np.random.default_rng(sum(size))
    found = []
    for number in range(60):
        grain = draw.integers(0, 3, (size[1], size[0], 3), np.uint8)
        values = grain + np.uint8(draw.integers(0, 200))
        for _ in range(number % 3):  # up to two dots or bars, some too faint to count
            top, left = int(draw.integers(size[1])), int(draw.integers(size[0]))
            depth, width = int(draw.integers(1, 40)), int(draw.integers(1, 90))
            spot = values[top : top + depth, left : left + width, number % 2]
            spot += np.uint8(draw.integers(1, 40))
        shown = Image.fromarray(values)
        found.append(is_blank(shown))
        assert found[-1] == as_defined(shown)
    assert any(found)
    assert not all(found) or min(size) == 1
    assert not is_blank(Image.fromarray(pixels(300, 200)))
