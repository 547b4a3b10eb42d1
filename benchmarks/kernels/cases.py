"""The benchmarks of the tensor kernels by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

    from benchmarks.kernels.clock import Clock
    from benchmarks.kernels.shapes import Sizes
    from benchmarks.kernels.table import Table


class Case(NamedTuple):
    """One benchmark: a function ``(table, clock, device, sizes)`` of a module of this folder."""

    name: str
    summary: str
    module: str
    function: str = "run"

    def run(self, table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
        """Import the module and call the function."""
        module = importlib.import_module(f"benchmarks.kernels.{self.module}")
        getattr(module, self.function)(table, clock, device, sizes)


KERNEL_CASES = {
    case.name: case
    for case in (
        Case("lightning", "lightning attention from 1K to 1M tokens, beside others", "lightning"),
        Case("token_mixer", "SiLU, attention, norm and gate, beside SiLU apart", "token_mixer"),
        Case("decode", "decode steps in a CUDA graph", "decoding"),
        Case("norm_gate", "the norm times a gate that ends lightning attention", "rows", "gated"),
        Case("norms", "RMSNorm, and the norm of a residual sum", "rows", "norms"),
        Case("rotary", "rotary embedding of half of each head", "rows", "rotations"),
        Case("cross_entropy", "cross-entropy over 200,064 entries with its head", "vocabulary"),
        Case("experts", "grouped experts and their fused parts", "grouped"),
    )
}
