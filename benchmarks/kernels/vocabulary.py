"""Cross-entropy over a large vocabulary, beside its matrix products alone and beside PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.kernels.clock import Clock, Timing
from benchmarks.kernels.shapes import Sizes
from benchmarks.kernels.table import Table
from kernels.cross_entropy import linear_cross_entropy


def run(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Loss and both gradients. The floor is three products of tokens, width and vocabulary."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    tokens, width, entries = sizes.vocabulary_tokens, sizes.width, sizes.vocabulary
    hidden = torch.randn(tokens, width, device=device, dtype=dtype).requires_grad_()
    weight = (torch.randn(entries, width, device=device, dtype=dtype) * width**-0.5).detach()
    weight.requires_grad_()
    targets = torch.randint(entries, (tokens,), device=device)

    def ours() -> object:
        return torch.autograd.grad(linear_cross_entropy(hidden, weight, targets), (hidden, weight))

    def plain() -> object:
        logits = torch.nn.functional.linear(hidden, weight)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        return torch.autograd.grad(loss, (hidden, weight))

    x, w = hidden.detach(), weight.detach()
    product = clock.time(lambda: _product(x, w))
    table.rows(
        f"cross-entropy and gradients, {tokens} × {width} × {entries}",
        clock.time(ours),
        floor=Timing(3 * product.alone, 3 * product.sustained),
        peers={"torch operators": clock.time(plain)},
        operations=6 * tokens * width * entries,
    )


def _product(x: Tensor, w: Tensor) -> Tensor:
    return x @ w.t()
