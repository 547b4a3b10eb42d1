"""Where things stand: centres and the largest sizes that keep them apart, by layout name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from vl_data.synthesis.draws import Draws


class Place(NamedTuple):
    """A centre, and the largest side of what fits there without touching its neighbours."""

    x: float
    y: float
    room: float


_MARGIN = 0.03


def scatter(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """In cells of a grid with more cells than things, moved about inside them."""
    columns, rows = _grid(draws.between(count, count + count // 2 + 1), width, height)
    cells = draws.picks([(c, r) for r in range(rows) for c in range(columns)], count)
    across, down = width * (1 - 2 * _MARGIN) / columns, height * (1 - 2 * _MARGIN) / rows
    places = []
    for column, row in cells:
        room = min(across, down) * draws.uniform(0.55, 0.9)
        free_x, free_y = across - room, down - room
        places.append(
            Place(
                width * _MARGIN + column * across + room / 2 + free_x * draws.uniform(0.1, 0.9),
                height * _MARGIN + row * down + room / 2 + free_y * draws.uniform(0.1, 0.9),
                room * 0.97,
            )
        )
    return places


def rows(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """Line by line from the top left, all of one size."""
    columns, lines = _grid(count, width, height)
    return _fill(draws, count, columns, lines, (0, 0, width, height))


def row(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """All in one line across."""
    return _fill(draws, count, count, 1, (0, 0, width, height))


def column(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """All in one line down."""
    return _fill(draws, count, 1, count, (0, 0, width, height))


def cluster(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """Close together in one half of the image; the other half is empty."""
    left, top, right, bottom = draws.pick(
        ((0, 0, width // 2, height), (width // 2, 0, width, height),
         (0, 0, width, height // 2), (0, height // 2, width, height))
    )  # fmt: skip
    columns, lines = _grid(count, right - left, bottom - top)
    return _fill(draws, count, columns, lines, (left, top, right, bottom))


def ring(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """On an ellipse about the middle, at equal angles from a random first one."""
    first = draws.uniform(0, 2 * math.pi)
    side = min(width, height)
    # The chord between neighbours at a radius of a half less half a thing's side.
    chord = math.sin(math.pi / count) if count > 1 else 1.0
    room = side * (1 - 2 * _MARGIN) * min(chord / (1 + chord), 0.4) * 0.7
    radius_x = width * (0.5 - _MARGIN) - room / 2
    radius_y = height * (0.5 - _MARGIN) - room / 2
    places = []
    for i in range(count):
        angle = first + 2 * math.pi * i / count
        x = width / 2 + radius_x * math.cos(angle)
        y = height / 2 + radius_y * math.sin(angle)
        places.append(Place(round(x, 3), round(y, 3), room))
    return places


def corners(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """In the corners, at most four things."""
    if count > 4:
        raise ValueError(f"found {count} things for the corners, expected at most 4")
    room = min(width, height) * draws.uniform(0.3, 0.4)
    edge = room / 2 + _MARGIN * min(width, height)
    spots = [(edge, edge), (width - edge, edge), (edge, height - edge),
             (width - edge, height - edge)]  # fmt: skip
    return [Place(x, y, room) for x, y in draws.picks(spots, count)]


def diagonal(draws: Draws, count: int, width: int, height: int) -> list[Place]:
    """From one corner to the opposite one."""
    down = draws.coin()
    room = min(width, height) * (1 - 2 * _MARGIN) / count * draws.uniform(0.7, 0.95)
    places = []
    for i in range(count):
        along = (i + 0.5) / count
        x = width * (_MARGIN + (1 - 2 * _MARGIN) * along)
        y = height * (_MARGIN + (1 - 2 * _MARGIN) * (along if down else 1 - along))
        places.append(Place(x, y, room))
    return draws.shuffled(places)


ARRANGEMENTS: dict[str, Callable[[Draws, int, int, int], list[Place]]] = {
    "scatter": scatter,
    "rows": rows,
    "row": row,
    "column": column,
    "cluster": cluster,
    "ring": ring,
    "corners": corners,
    "diagonal": diagonal,
}
"""Name to arrangement: ``(draws, count, width, height)`` to as many places, in random order of
importance: the first is no more often in one spot than another."""


def arrange(draws: Draws, layout: str, count: int, width: int, height: int) -> list[Place]:
    """The places of a layout, shuffled."""
    return draws.shuffled(ARRANGEMENTS[layout](draws, count, width, height))


def _grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows of nearly square cells, at least ``count`` of them."""
    columns = max(1, min(count, round(math.sqrt(count * width / height))))
    return columns, -(-count // columns)


def _fill(
    draws: Draws, count: int, columns: int, lines: int, area: tuple[int, int, int, int]
) -> list[Place]:
    left, top, right, bottom = area
    width, height = right - left, bottom - top
    across, down = width * (1 - 2 * _MARGIN) / columns, height * (1 - 2 * _MARGIN) / lines
    room = min(across, down) * draws.uniform(0.6, 0.9)
    return [
        Place(
            left + width * _MARGIN + (i % columns + 0.5) * across,
            top + height * _MARGIN + (i // columns + 0.5) * down,
            room,
        )
        for i in range(count)
    ]
