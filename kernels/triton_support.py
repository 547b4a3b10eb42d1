"""What every Triton operator asks: does this tensor go to a kernel, and how are tiles counted.

Triton decides at import whether kernels are compiled or interpreted (``TRITON_INTERPRET=1``), so
the answer is read from it and not from the environment.
"""

from __future__ import annotations

import torch

try:
    import triton
except ImportError:  # Triton has no wheel for this platform: the plain torch forms run everything
    triton = None


INTERPRETED = triton is not None and bool(triton.knobs.runtime.interpret)
"""Whether kernels run under Triton's interpreter, on tensors of the CPU."""


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether operators take their Triton form for ``tensor``.

    So for tensors on a GPU, and for tensors on the CPU under the interpreter. Elsewhere the plain
    torch form runs.
    """
    if tensor.device.type == "cuda":
        if triton is None:
            raise RuntimeError(
                "found a tensor on a GPU but no Triton; install it: pip install 'triton>=3.6,<3.8'"
            )
        return True
    return tensor.device.type == "cpu" and INTERPRETED


def cdiv(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def next_power_of_2(n: int) -> int:
    """The smallest power of two that is not below ``n``."""
    return 1 << max(n - 1, 0).bit_length()
