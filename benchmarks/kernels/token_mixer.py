"""The token mixer of a lightning layer: SiLU, attention, norm and gate.

From the output of the fused projection of q, k and v to the input of the output projection. Beside
it the same parts with SiLU as torch's operator, which is how the released code has it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.kernels.clock import Clock, Timing
from benchmarks.kernels.lightning import BACKWARD_TENSORS, FORWARD_TENSORS, copies, inputs, times
from benchmarks.kernels.shapes import Sizes
from benchmarks.kernels.table import Table
from kernels.lightning.fused import lightning_attention_qkv
from kernels.lightning.slopes import alibi_slopes
from kernels.norm_gate import norm_gate

APART = "SiLU apart"
MIXER_FORWARD, MIXER_BACKWARD = 5, 9
"""q, k, v, the gate and the result; and those four, do, and the gradients of the four."""


def run(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Attention with SiLU inside the sweep, and the whole mixer, both ways."""
    shape = next((s for s in sizes.attention if s.tokens >= sizes.flat_from), sizes.attention[0])
    slopes = alibi_slopes(shape.heads, 0, sizes.layers).to(device)
    projected = torch.cat(inputs(shape, sizes.head, device), dim=3).requires_grad_()
    do = inputs(shape, sizes.head, device)[0]
    gate = torch.randn_like(do).flatten(2).requires_grad_()
    weight = torch.ones(gate.shape[-1], device=device, dtype=do.dtype)

    def inside(qkv: Tensor) -> Tensor:
        return _only(lightning_attention_qkv(qkv, slopes, activation="silu"))

    def apart(qkv: Tensor) -> Tensor:
        return _only(lightning_attention_qkv(functional.silu(qkv), slopes))

    def mixed(attend: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda qkv, gate: norm_gate(attend(qkv).flatten(2), gate, weight)

    one = copies(clock, do, 1)
    for name, leaves, ours, other, cotangent, tensors in (
        ("with SiLU", [projected], inside, apart, do, (FORWARD_TENSORS, BACKWARD_TENSORS)),
        (
            "token mixer",
            [projected, gate],
            mixed(inside),
            mixed(apart),
            do.flatten(2),
            (MIXER_FORWARD, MIXER_BACKWARD),
        ),
    ):
        found = times(clock, leaves, ours, cotangent)
        peer = times(clock, leaves, other, cotangent)
        for way, moved in zip(("forward", "backward"), tensors, strict=True):
            table.rows(
                f"{name}, {way}, {shape.name}",
                found[way],
                floor=Timing(one.alone * moved, one.sustained * moved),
                peers={APART: peer[way]},
                moved=moved * do.nbytes,
            )


def _only(result: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    assert isinstance(result, Tensor)
    return result
