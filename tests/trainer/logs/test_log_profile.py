"""Where a step's time goes: what counts for what, and that a profile of real work is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import torch

from trainer.logs.profile import REST, device_seconds, kernel_seconds, part_of, profiled, summary


def event(name: str, parent: Any = None, **kernels: float) -> Any:
    """An operator and the microseconds of the kernels that it launched."""
    found = [SimpleNamespace(name=kernel, duration=us) for kernel, us in kernels.items()]
    return SimpleNamespace(name=name, kernels=found, cpu_parent=parent)


@pytest.mark.parametrize(
    ("operator", "part"),
    [
        ("leyden::lightning_qkv_backward", "lightning attention"),
        ("aten::_flash_attention_forward", "softmax attention"),
        ("leyden::experts_product_weight", "experts: products"),
        ("leyden::experts_swiglu", "experts: order, rows, activation"),
        ("leyden::linear_total", "head and loss"),
        ("leyden::add_rms_norm", "norms and gates"),
        ("Optimizer.step#AdamW.step", "optimizer"),
        ("nccl:_all_gather_base", "communication"),
        ("aten::mm", "projections and router"),
        ("aten::copy_", "copies"),
        ("aten::sort", REST),
    ],
)
def test_parts_of_a_step(operator: str, part: str) -> None:
    assert part_of(operator) == part


def test_an_operator_of_ours_counts_with_what_it_calls() -> None:
    head = event("leyden::linear_total")
    step = event("Optimizer.step#AdamW.step", event("outer"))
    events = [
        head,
        event("aten::mm", head, nvjet=30.0),
        event("aten::mm", event("aten::linear"), nvjet=10.0),
        event("aten::_foreach_mul_", step, multi=5.0),
    ]
    seconds = device_seconds(events)
    assert seconds == pytest.approx(
        {"leyden::linear_total": 30e-6, "aten::mm": 10e-6, "Optimizer.step#AdamW.step": 5e-6}
    )
    kernels = kernel_seconds(events)
    assert list(kernels) == ["nvjet", "multi"]
    assert kernels["nvjet"] == {"seconds": pytest.approx(40e-6), "launches": 2}
    found = summary(seconds, wall=90e-6)
    assert found["busy"] == pytest.approx(0.5)
    assert list(found["parts"]) == ["head and loss", "projections and router", "optimizer"]


def test_a_profile_is_written(tmp_path: Path) -> None:
    a = torch.ones(64, 64)
    with profiled(tmp_path / "profile", 7, torch.device("cpu")):
        (a @ a).sum()
    table = orjson.loads((tmp_path / "profile" / "step-7.json").read_bytes())
    assert table["step"] == 7
    assert table["parts"]["projections and router"] > 0
    assert "aten::mm" in table["operators"]
    assert (tmp_path / "profile" / "step-7.trace.json.gz").stat().st_size > 0


def test_nothing_is_profiled_unasked(tmp_path: Path) -> None:
    with profiled(None, 7, torch.device("cpu")):
        torch.ones(2).sum()
    assert not list(tmp_path.iterdir())
