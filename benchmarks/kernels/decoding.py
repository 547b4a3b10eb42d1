"""Decode steps: in a CUDA graph, as inference runs them, beside the states' bytes."""

from __future__ import annotations

import torch

from benchmarks.kernels import decode
from benchmarks.kernels.clock import Clock, Timing
from benchmarks.kernels.shapes import Sizes
from benchmarks.kernels.table import Table

COPIED = 1 << 30
"""Bytes of the copy that says how fast memory is: beyond any cache."""


def run(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Every batch of :mod:`.decode`; a graph holds one round through the pages of its pool."""
    width = min(COPIED, sizes.tokens * sizes.width * 2)
    copy = _copy(clock, device, width)
    speed = Timing(*(2 * width / milliseconds for milliseconds in copy))
    table.figure("copy of memory", speed.alone / 1e6, "GB/s")
    for batch, (name, call, moved) in zip(decode.BATCHES, decode.cases(device), strict=True):
        steps = max(decode.PAGES // batch, 1)
        ours = clock.graph(call, steps)
        floor = Timing(moved / speed.alone, moved / speed.sustained)
        table.rows(name, ours, floor=floor, moved=moved)


def _copy(clock: Clock, device: torch.device, width: int) -> Timing:
    source = torch.zeros(width, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return clock.time(lambda: target.copy_(source))
