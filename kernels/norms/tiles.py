"""Tile sizes of the norms' kernels, from the width alone. Nothing is tuned at run time."""

from __future__ import annotations

from typing import NamedTuple

from kernels.triton_support import next_power_of_2

WIDEST_FORWARD = 16384
"""Widest row that the forward holds in registers: 32 fp32 values of it a thread."""

WIDEST_BACKWARD = 8192
"""Widest row that the backward holds in registers, beside its gradients and the gain's sums."""

BACKWARD_STAGES = 2
"""Rows in flight a program of the backward: the next row is fetched while one is worked on."""

SUM_ROWS, SUM_COLUMNS, SUM_WARPS = 32, 64, 4
"""The tile and warps with which the parts of the gain's gradient are added up."""

_VALUES_A_THREAD = 16


class Tile(NamedTuple):
    """Rows and columns of a program's tile (powers of two), and its warps."""

    rows: int
    columns: int
    warps: int


def whole_rows(width: int) -> Tile:
    """The tile of a program that holds rows of ``width``, several when they are narrow."""
    columns = next_power_of_2(width)
    rows = max(1, 2048 // columns)
    return Tile(rows, columns, min(16, max(1, rows * columns // (32 * _VALUES_A_THREAD))))


def strips(width: int) -> Tile:
    """The tile of a program whose rows were reduced before: any part of a row will do."""
    columns = min(2048, next_power_of_2(width))
    return Tile(max(1, 2048 // columns), columns, 4)


def reduced_rows(width: int) -> Tile:
    """The tile and warps with which a program walks along rows to reduce them."""
    columns = min(4096, next_power_of_2(width))
    return Tile(max(1, 2048 // columns), columns, 8 if columns > 2048 else 4)


def programs(tiles: int, strips_of_columns: int, warps: int, multiprocessors: int) -> int:
    """Programs that share the ``tiles`` of a strip in the backward: in all 16 warps resident.

    The gain's gradient is a sum of one part a program, so its last bits depend on the number of
    multiprocessors, and on nothing else of the machine.
    """
    resident = multiprocessors * max(1, 16 // warps)
    return max(1, min(tiles, resident // strips_of_columns))
