"""Who works on rows: Triton on a GPU and under its interpreter, plain torch elsewhere."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from kernels.norms import plain
from kernels.triton_support import runs_triton

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def passes(x: Tensor) -> ModuleType:
    """``kernels.norms.launch`` or ``kernels.norms.plain``, which have the same functions.

    Triton is imported only here: it has no wheel for every platform. Tensors without elements stay
    with torch, because a grid of no programs is no launch.
    """
    if x.numel() and runs_triton(x):
        from kernels.norms import launch

        return launch
    return plain


def check(name: str, tensor: Tensor, like: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless ``tensor`` has ``shape``, a dtype of DTYPES and the device of ``like``."""
    check_dtype(name, tensor)
    if tuple(tensor.shape) != shape:
        raise ValueError(
            f"{name}: found shape {tuple(tensor.shape)}, expected {shape}; reshape it or the input"
        )
    if tensor.device != like.device:
        raise ValueError(
            f"{name}: found device {tensor.device}, expected {like.device}; move it there"
        )


def check_dtype(name: str, tensor: Tensor) -> None:
    """Raise unless the dtype is one that the kernels read."""
    if tensor.dtype not in DTYPES:
        raise TypeError(
            f"{name}: found {tensor.dtype}, expected bfloat16, float16 or float32; cast it first"
        )


def check_eps(eps: float) -> None:
    """Raise unless ``eps`` is a finite number that is not negative."""
    if not 0.0 <= eps < float("inf"):
        raise ValueError(f"eps: found {eps}, expected a finite number >= 0, such as 1e-6")
