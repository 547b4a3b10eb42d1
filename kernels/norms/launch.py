"""Launches of the norms' kernels over rows: tensors ``[rows, width]`` on a GPU or interpreted.

``kernels.norms.plain`` has the same functions in plain torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from kernels.norms import device, tiles
from kernels.triton_support import cdiv

# Programs stand in for a GPU's under the interpreter: few, so that each walks several tiles.
_INTERPRETED_MULTIPROCESSORS = 2


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _multiprocessors(tensor: Tensor) -> int:
    if tensor.is_cuda:
        return torch.cuda.get_device_properties(tensor.device).multi_processor_count
    return _INTERPRETED_MULTIPROCESSORS


def _contiguous_rows(tensor: Tensor) -> Tensor:
    """The tensor itself when its rows are contiguous, else a copy."""
    return tensor if tensor.stride(1) == 1 else tensor.contiguous()


def _stride(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.stride(0)


def _vector(rows: int, like: Tensor) -> Tensor:
    return torch.empty(rows, dtype=torch.float32, device=like.device)


def sum_of_squares(x: Tensor) -> Tensor:
    """fp32 ``[rows]``: the sum of x^2 of each row."""
    return _squares(_contiguous_rows(x), None, None, 1.0)


def _squares(x: Tensor, residual: Tensor | None, total: Tensor | None, alpha: float) -> Tensor:
    rows, width = x.shape
    squares = _vector(rows, x)
    tile = tiles.reduced_rows(width)
    with _on(x):
        device.row_squares[(cdiv(rows, tile.rows),)](
            x,
            residual,
            total,
            squares,
            rows,
            width,
            x.stride(0),
            _stride(residual),
            alpha,
            ROWS=tile.rows,
            COLUMNS=tile.columns,
            num_warps=tile.warps,
        )
    return squares


def moments(dy: Tensor, x: Tensor, gain: Tensor | None, gate: Tensor | None) -> Tensor:
    """fp32 ``[rows]``: the sum of ``dy * gain * sigmoid(gate) * x`` of each row."""
    dy, x = _contiguous_rows(dy), _contiguous_rows(x)
    gain = None if gain is None else gain.contiguous()
    gate = None if gate is None else _contiguous_rows(gate)
    rows, width = x.shape
    out = _vector(rows, x)
    tile = tiles.reduced_rows(width)
    with _on(x):
        device.row_moments[(cdiv(rows, tile.rows),)](
            dy,
            x,
            gain,
            gate,
            out,
            rows,
            width,
            dy.stride(0),
            x.stride(0),
            _stride(gate),
            ROWS=tile.rows,
            COLUMNS=tile.columns,
            num_warps=tile.warps,
        )
    return out


def forward(
    x: Tensor,
    gain: Tensor | None,
    gate: Tensor | None,
    residual: Tensor | None,
    squares: Tensor | None,
    *,
    full_width: int,
    alpha: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``(y, squares, total)``; ``total`` only with a residual, which excludes given ``squares``."""
    x = _contiguous_rows(x)
    gain = None if gain is None else gain.contiguous()
    gate = None if gate is None else _contiguous_rows(gate)
    residual = None if residual is None else _contiguous_rows(residual)
    rows, width = x.shape
    y = torch.empty((rows, width), dtype=x.dtype, device=x.device)
    total = None if residual is None else torch.empty_like(y)
    if squares is None and width > tiles.WIDEST_FORWARD:
        squares = _squares(x, residual, total, alpha)
        x, residual = (x if total is None else total), None
    given = squares is not None
    sums = _vector(rows, x) if squares is None else squares
    tile = tiles.strips(width) if given else tiles.whole_rows(width)
    with _on(x):
        device.forward[(cdiv(rows, tile.rows), cdiv(width, tile.columns))](
            x,
            residual,
            gain,
            gate,
            sums if given else None,
            y,
            None if residual is None else total,
            None if given else sums,
            rows,
            width,
            full_width,
            x.stride(0),
            _stride(residual),
            _stride(gate),
            alpha,
            eps,
            ROWS=tile.rows,
            COLUMNS=tile.columns,
            num_warps=tile.warps,
        )
    return y, sums, total


def backward(
    dy: Tensor,
    x: Tensor,
    gain: Tensor | None,
    gate: Tensor | None,
    squares: Tensor,
    moment: Tensor | None,
    dtotal: Tensor | None,
    *,
    full_width: int,
    alpha: float,
    eps: float,
    wants_gain: bool,
    wants_residual: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """``(dx, dresidual, dgate, dgain)``, None where not wanted."""
    dy, x = _contiguous_rows(dy), _contiguous_rows(x)
    gain = None if gain is None else gain.contiguous()
    gate = None if gate is None else _contiguous_rows(gate)
    dtotal = None if dtotal is None else _contiguous_rows(dtotal)
    rows, width = x.shape
    if moment is None and width > tiles.WIDEST_BACKWARD:
        moment = moments(dy, x, gain, gate)
    tile = tiles.whole_rows(width) if moment is None else tiles.strips(width)
    strips = cdiv(width, tile.columns)
    count = tiles.programs(cdiv(rows, tile.rows), strips, tile.warps, _multiprocessors(x))

    def fresh(dtype: torch.dtype) -> Tensor:
        return torch.empty((rows, width), dtype=dtype, device=x.device)

    dx = fresh(x.dtype)
    dresidual = fresh(x.dtype) if wants_residual else None
    dgate = None if gate is None else fresh(gate.dtype)
    parts = None
    if gain is not None and wants_gain:
        parts = torch.empty((count, width), dtype=torch.float32, device=x.device)
    with _on(x):
        device.backward[(count, strips)](
            dy,
            x,
            gain,
            gate,
            squares,
            moment,
            dtotal,
            dx,
            dresidual,
            dgate,
            parts,
            rows,
            width,
            full_width,
            dy.stride(0),
            x.stride(0),
            _stride(gate),
            _stride(dtotal),
            alpha,
            eps,
            ROWS=tile.rows,
            COLUMNS=tile.columns,
            STAGES=tiles.BACKWARD_STAGES,
            num_warps=tile.warps,
        )
        if parts is None or gain is None:
            return dx, dresidual, dgate, None
        dgain = torch.empty(width, dtype=gain.dtype, device=x.device)
        device.column_sums[(cdiv(width, tiles.SUM_COLUMNS),)](
            parts,
            dgain,
            count,
            width,
            ROWS=tiles.SUM_ROWS,
            COLUMNS=tiles.SUM_COLUMNS,
            num_warps=tiles.SUM_WARPS,
        )
    return dx, dresidual, dgate, dgain
