"""Grouped experts: the fused parts and the layer, beside torch's operators (:mod:`.experts`)."""

from __future__ import annotations

import torch

from benchmarks.kernels import experts
from benchmarks.kernels.clock import Clock, Timing
from benchmarks.kernels.shapes import Sizes
from benchmarks.kernels.table import Table


def run(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Every part of one shape. Ours is the fused form; the others are its peers."""
    shape = {**experts.SHAPES, **experts.CPU_SHAPES}[sizes.experts]
    size = f"{shape.tokens} × {shape.width}, {shape.experts} experts of {shape.hidden}"
    parts: dict[str, dict[str, tuple[Timing, int]]] = {}
    for case in experts.cases(shape, device):
        parts.setdefault(case.part, {})[case.form] = (clock.time(case.call), case.floor_bytes)
    for part, forms in parts.items():
        ours, moved = forms.pop("fused")
        peers: dict[str, Timing | str] = {form: timing for form, (timing, _) in forms.items()}
        table.rows(f"{part}, {size}", ours, peers=peers, moved=moved)
