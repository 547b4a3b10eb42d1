"""The gradient norm of each layer, judged by that layer's own past."""

from __future__ import annotations

import json
import math

import pytest

from trainer.stages.layer_guard import LayerGuard, LayerGuardSettings

SETTINGS = LayerGuardSettings(ratio=10, window=16, action="stop")


def steady(guard: LayerGuard, steps: int = 16) -> None:
    for n in range(steps):
        assert guard.judge({"layer 0": 0.01 + 1e-4 * (n % 3), "layer 7": 5.0}) is None


def test_a_layer_is_judged_by_its_own_past() -> None:
    guard = LayerGuard(SETTINGS)
    steady(guard)
    found = guard.judge({"layer 0": 1.0, "layer 7": 5.0})  # a global norm hardly moves
    assert found is not None
    assert found.action == "stop"
    assert found.what == (
        "layer 0: found gradient norm 1 after a median of 0.0101, expected at most 0.101"
    )
    found = guard.judge({"layer 0": 0.2, "layer 7": 500.0})
    assert found is not None
    assert found.what.startswith("layer 7")  # the worse one


def test_nothing_finite_is_judged_before_half_a_window() -> None:
    guard = LayerGuard(SETTINGS)
    assert guard.judge({"a": 1.0}) is None
    assert guard.judge({"a": 1e6}) is None
    found = guard.judge({"a": math.nan})
    assert found is not None
    assert "finite" in found.what


def test_noise_below_the_floor_is_let_pass() -> None:
    guard = LayerGuard(SETTINGS)
    for _ in range(16):
        assert guard.judge({"a": 1e-9}) is None
    assert guard.judge({"a": 9e-4}) is None
    assert guard.judge({"a": 2e-3}) is not None


def test_bad_steps_are_no_standard_for_later_ones() -> None:
    guard = LayerGuard(SETTINGS)
    steady(guard)
    for _ in range(40):
        assert guard.judge({"layer 0": 1.0, "layer 7": 5.0}) is not None


def test_a_step_that_was_bad_otherwise_is_judged_and_not_kept() -> None:
    guard = LayerGuard(SETTINGS)
    steady(guard)
    before = guard.state()
    assert guard.judge({"layer 0": 0.05, "layer 7": 5.0}, keep=False) is None
    assert guard.judge({"layer 0": 1.0, "layer 7": 5.0}, keep=False) is not None
    assert guard.state() == before


@pytest.mark.parametrize("steps", [3, 16])
def test_a_resumed_guard_judges_the_same(steps: int) -> None:
    first, second = LayerGuard(SETTINGS), LayerGuard(SETTINGS)
    steady(first, steps)
    second.restore(json.loads(json.dumps(first.state())))
    for norm in (0.01, 0.09, 0.5, 0.01, 0.3):
        norms = {"layer 0": norm, "layer 7": 5.0}
        assert first.judge(norms) == second.judge(norms)
    assert first.state() == second.state()
