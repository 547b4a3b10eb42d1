"""The launches of the rotary kernel at the trainer's heads, for the check of all kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels.artefacts import Configuration


def configurations() -> Iterator[Configuration]:
    """MiniMax-01's 64 and 8 heads of 128 (64 rotated), whole heads, and a head of no power of 2."""
    from kernels.artefacts import Configuration
    from kernels.rotary import device, launch

    strides = [name for name in device.rotate.arg_names if name.endswith("_stride")]
    for kind in ("bf16", "fp32"):
        for head, rotary_dim in ((128, 64), (128, 128), (96, 48)):
            for inverse in (False, True):
                of_q, of_k = (launch.tile(heads, head, rotary_dim) for heads in (64, 8))
                yield Configuration(
                    name=f"rotary-{kind}-{rotary_dim}-of-{head}{'-inverse' if inverse else ''}",
                    function=device.rotate,
                    signature={
                        **dict.fromkeys(("q", "k", "q_out", "k_out"), f"*{kind}"),
                        "positions": "*i64",
                        **dict.fromkeys(("tokens", "q_heads", "k_heads", *strides), "i32"),
                    },
                    constexprs={
                        "HEAD": head,
                        "ROTARY": rotary_dim,
                        "HALF": of_q.half,
                        "REST": of_q.rest,
                        "LOG2_BASE": math.log2(10_000_000.0),
                        "INVERSE": inverse,
                        "Q_BLOCK": of_q.heads,
                        "K_BLOCK": of_k.heads,
                    },
                    num_warps=launch.WARPS,
                    num_stages=3,
                    expects_tensor_cores=False,
                )
