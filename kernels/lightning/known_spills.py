"""What ptxas spills of lightning attention's kernels today: the compile check holds them to it.

Seen with Triton 3.6.0 and 3.7.1 (``python -m kernels.artefacts``), the more of the two. bfloat16 on
Hopper, which the GPU measurements are of, spills at most 64 bytes. The rest is a debt: the tiles of
:func:`.portable.tiles` are too large for other types and GPUs. float32 is the worst: without tensor
cores a thread holds whole rows of both operands of a product, thousands of values.
"""

from __future__ import annotations

from typing import NamedTuple


class Spilled(NamedTuple):
    """Bytes, and accesses in loops that multiply, by capability, as in ``Configuration``."""

    max_bytes: dict[int, int]
    max_in_loops: dict[int, int]


# By kernel, dtype and the power of two of the key size: bytes in all, and accesses in every turn of
# a loop that multiplies.
_SEEN: dict[tuple[str, str, int], dict[int, tuple[int, int]]] = {
    ("sweep", "bf16", 64): {80: (184, 23)},
    ("sweep", "bf16", 128): {80: (828, 121), 90: (64, 1)},
    ("sweep", "bf16", 256): {100: (136, 17)},
    ("sweep", "fp16", 64): {80: (304, 38), 100: (56, 24)},
    ("sweep", "fp16", 128): {80: (1252, 184), 90: (964, 164), 100: (2400, 1269)},
    ("sweep", "fp16", 256): {80: (936, 171), 90: (888, 157), 100: (440, 64)},
    ("sweep", "fp32", 64): {80: (21348, 0), 90: (21100, 0), 100: (21424, 0)},
    ("sweep", "fp32", 128): {80: (18936, 0), 90: (19096, 0), 100: (22192, 0)},
    ("sweep", "fp32", 256): {80: (21276, 0), 90: (21060, 0), 100: (24800, 0)},
    ("own", "bf16", 256): {80: (168, 56)},
    ("own", "fp16", 256): {80: (160, 48), 90: (540, 115)},
    ("own", "fp32", 64): {80: (36, 0), 100: (12, 0)},
}


def spilled(kernel: str, kind: str, wide: int) -> Spilled:
    """Of ``sweep`` or ``own``, by dtype and power of two of keys; empty where nothing spills."""
    seen = _SEEN.get((kernel, kind, wide), {})
    return Spilled({c: most for c, (most, _) in seen.items()}, {c: n for c, (_, n) in seen.items()})
