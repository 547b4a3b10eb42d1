"""What ptxas spills of lightning attention's kernels today: the compile check holds them to it.

The more of Triton 3.6.0 and 3.7.1 (``python -m kernels.artefacts``), and a tenth, because any
change of a kernel moves them a little. bfloat16 on Hopper with heads up to 128, which the
measurements are of, spills at most 64 bytes. The rest is a debt: the tiles of
:func:`.portable.tiles` are too large for other types and GPUs. float32 is the worst: without tensor
cores a thread holds whole rows of both operands of a product.
"""

from __future__ import annotations

from typing import NamedTuple


class Spilled(NamedTuple):
    """Bytes, and accesses in loops that multiply, by capability, as in ``Configuration``."""

    max_bytes: dict[int, int]
    max_in_loops: dict[int, int]


# By kernel, dtype and the power of two of the key size: bytes in all, and accesses in every turn of
# a loop that multiplies.
_ALLOWED: dict[tuple[str, str, int], dict[int, tuple[int, int]]] = {
    ("sweep", "bf16", 64): {80: (208, 26)},
    ("sweep", "bf16", 128): {80: (912, 134), 90: (72, 2)},
    ("sweep", "bf16", 256): {100: (152, 19)},
    ("sweep", "fp16", 64): {80: (336, 42), 100: (64, 27)},
    ("sweep", "fp16", 128): {80: (1384, 203), 90: (1064, 181), 100: (2640, 1396)},
    ("sweep", "fp16", 256): {80: (1032, 189), 90: (984, 173), 100: (708, 98)},
    ("sweep", "fp32", 64): {80: (23488, 0), 90: (23216, 0), 100: (23568, 0)},
    ("sweep", "fp32", 128): {80: (20832, 0), 90: (21008, 0), 100: (24416, 0)},
    ("sweep", "fp32", 256): {80: (23408, 0), 90: (23168, 0), 100: (27288, 0)},
    ("own", "bf16", 256): {80: (304, 84)},
    ("own", "fp16", 256): {80: (176, 53), 90: (608, 127)},
    ("own", "fp32", 64): {80: (40, 0), 100: (16, 0)},
    ("scan", "fp32", 128): {100: (16, 0)},
}


def spilled(kernel: str, kind: str, wide: int) -> Spilled:
    """Of ``sweep``, ``own`` or ``scan``, by dtype and power of two of keys; may be empty."""
    allowed = _ALLOWED.get((kernel, kind, wide), {})
    return Spilled(
        {c: most for c, (most, _) in allowed.items()}, {c: n for c, (_, n) in allowed.items()}
    )
