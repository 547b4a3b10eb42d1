"""Tile sizes by shape, and the configurations that are compiled and checked without a GPU."""

from __future__ import annotations

from typing import NamedTuple

from kernels.triton_support import cdiv, next_power_of_2

WARPS = 4
ZERO_BLOCK = 4096
"""Elements of an empty expert's gradient that a program zeroes at a time."""
ZERO_PROGRAMS = 64
"""Most programs an expert: those of experts with rows have nothing to do."""


class Tile(NamedTuple):
    """Rows and columns that one program holds at a time."""

    rows: int
    columns: int


def row_tile(width: int) -> Tile:
    """The tile of the kernels that move or transform rows of ``width`` elements.

    2,048 elements for 4 warps are 16 a thread: two 16-byte loads of bfloat16. Narrow rows share a
    program.
    """
    columns = min(max(next_power_of_2(width), 16), 1024)
    return Tile(2048 // columns, columns)


class OrderTile(NamedTuple):
    """Of the ordering kernels: slots of a block, experts' columns, blocks scanned at once."""

    slots: int
    columns: int
    scanned: int


def order_tile(experts: int) -> OrderTile:
    """The tile of the ordering kernels: 8,192 comparisons a program, and one column more than
    experts for the slots that go to none."""
    columns = max(next_power_of_2(experts + 1), 16)
    return OrderTile(
        slots=min(max(8192 // columns, 16), 256),
        columns=columns,
        scanned=min(max(4096 // columns, 1), 128),
    )


def row_grid(rows: int, width: int) -> tuple[int, int]:
    """Programs over ``rows`` × ``width`` elements in row tiles."""
    tile = row_tile(width)
    return cdiv(rows, tile.rows), cdiv(width, tile.columns)
