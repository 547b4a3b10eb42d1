"""What stops a run."""

from __future__ import annotations

import math

import pytest

from trainer.guards import Finding, Guard, GuardSettings, worst


def steady(guard: Guard, steps: int = 64) -> None:
    for n in range(steps):
        assert guard.judge(2.0 + 0.01 * (n % 5), 1.0) is None


@pytest.mark.parametrize(
    "numbers", [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)]
)
def test_what_is_no_number_stops_the_run(numbers: tuple[float, float]) -> None:
    found = Guard(GuardSettings()).judge(*numbers)
    assert found is not None
    assert found.action == "stop"
    assert "finite" in found.what


def test_a_spike_is_judged_by_the_steps_before_it() -> None:
    guard = Guard(GuardSettings(on_spike="skip"))
    assert guard.judge(50.0, 90.0) is None  # nothing to compare with yet
    steady(guard)
    found = guard.judge(3.0, 1.0)
    assert found is not None
    assert (found.action, found.what) == ("skip", "found loss 3.0000 after a median of 2.0200")
    found = guard.judge(2.0, 30.0)
    assert found is not None
    assert "gradient norm" in found.what
    assert guard.judge(2.02, 1.5) is None


def test_bad_steps_are_no_standard_for_later_ones() -> None:
    guard = Guard(GuardSettings(on_spike="ignore"))
    steady(guard)
    for _ in range(100):
        assert guard.judge(9.0, 1.0) is not None


def test_a_resumed_guard_judges_the_same() -> None:
    first = Guard(GuardSettings(on_spike="stop"))
    steady(first)
    second = Guard(GuardSettings(on_spike="stop"))
    second.restore(first.state())
    for numbers in ((2.03, 1.0), (2.4, 1.0), (2.0, 50.0)):
        assert first.judge(*numbers) == second.judge(*numbers)


def test_the_gravest_of_several_findings_is_acted_on() -> None:
    ignore, skip, back, stop = (
        Finding(action, action) for action in ("ignore", "skip", "roll_back", "stop")
    )
    assert worst([None, None]) is None
    assert worst([ignore, None]) is ignore
    assert worst([ignore, skip]) is skip
    assert worst([back, skip]) is back
    assert worst([back, stop]) is stop
    first = Finding("skip", "first")
    assert worst([first, skip]) is first
