"""SiLU and its derivative inside kernels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def silu(x):
    """``x · sigmoid(x)``, in the precision of ``x``."""
    return x / (1.0 + tl.exp(-x))


@triton.jit
def silu_as_read(x):
    """``silu(x)``: arithmetic in float32, rounded to the type of ``x``. Zero stays zero."""
    return silu(x.to(tl.float32)).to(x.dtype)


@triton.jit
def silu_derivative(x):
    """``s(x) (1 + x (1 - s(x)))`` with s the logistic function, in the precision of ``x``."""
    s = 1.0 / (1.0 + tl.exp(-x))
    return s * (1.0 + x * (1.0 - s))
