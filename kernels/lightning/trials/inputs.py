"""Small batches that make a kernel take every path it has."""

from __future__ import annotations

from typing import NamedTuple

import torch

from kernels.lightning.pieces import Layout, Pieces, cut
from kernels.lightning.trials.reference import Part, parts
from kernels.sentinel import surrounded

LIMITS = {torch.bfloat16: 1e-2, torch.float16: 5e-3, torch.float32: 1e-5}
"""Relative RMS error allowed in a head, by the dtype of the inputs. bfloat16 rounds scores, states
and outputs to 1.6e-3 each; dropping one decay factor puts a fast head off by far more."""
SLOPES = (0.02, 0.917, 0.0, 5e-5, 0.2, 0.6, 0.004, 0.1)
"""From no decay, through the slowest and the fastest head of MiniMax-Text-01."""
SCALE = 0.7


def kind(n: int) -> int:
    """How Triton specialises on an integer argument: 1, a multiple of 16 (16), or other (8).

    The code compiled for each is another one, and may be wrong when the rest is right.
    """
    return 1 if n == 1 else 8 if n % 16 else 16


class Batch(NamedTuple):
    """A batch cut into ``pieces`` for a kernel, and the same cut on the host."""

    rows: int
    tokens: int
    pieces: Pieces
    host: list[Part]
    cu_seqlens: torch.Tensor | None


def batch(
    tile: int,
    segment: int,
    *,
    heads: int,
    packed: bool,
    is_cut: bool,
    tokens: int,
    device: torch.device,
    boundary: torch.dtype = torch.int32,
) -> Batch:
    """Two dense sequences; or packed ones, among them an empty one and a very short one.

    Args:
        tile: tokens of the kernel's tile.
        segment: tokens of a segment, a multiple of 64; the last one is ragged. Where nothing is
            cut, about as many as there are in all; or ``tile``, and then all lie in one tile.
        tokens: what :func:`kind` says of their number.
        boundary: dtype of ``cu_seqlens``.
    """
    if is_cut:
        length = (3 if packed else 2) * segment + tile + 16
    else:
        length = segment + 16 if segment > tile else tile
    length = {1: 1, 8: length - 3, 16: length}[tokens]
    boundaries = None
    if packed and is_cut:  # the second boundary but one is where a segment ends
        boundaries = [0, segment - 5, segment - 5, segment, length]
    elif packed:
        early = length // 3
        boundaries = [0, early, early, min(early + 1, length), length]
    rows = 1 if packed else 2
    cu = None if boundaries is None else torch.tensor(boundaries, dtype=boundary, device=device)
    sequences = rows if boundaries is None else len(boundaries) - 1
    step = segment if is_cut else length
    pieces = cut(Layout(sequences, length, heads, packed), step, cu)
    host = parts(length, step, rows=rows, boundaries=boundaries)
    return Batch(rows, length, pieces, host, cu)


class Draw:
    """Seeded normal numbers, which leave torch's own generators alone."""

    seed = 20_250_114

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device).manual_seed(self.seed)

    def __call__(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Of ``shape``, lying in NaN."""
        g = self._generator
        return surrounded(torch.randn(shape, generator=g, device=g.device).to(dtype))


def slopes(heads: int, device: torch.device) -> torch.Tensor:
    """float32 ``[heads]`` with all of :data:`SLOPES` in it when there are that many."""
    values = [SLOPES[h % len(SLOPES)] / (1 + h // len(SLOPES)) for h in range(heads)]
    return torch.tensor(values, dtype=torch.float32, device=device)
