"""The live line: what it says, when, and the time that it says is left."""

from __future__ import annotations

import io
from typing import Any

import pytest

from trainer.logs.terminal import Pace, Terminal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(step: int, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "tokens": 1000 * step,
        "loss": 3.21234,
        "grad_norm": 0.51234,
        "lr": 1.6e-3,
        "tokens_per_second": 12_345.0,
        "mfu": None,
        "dropped_tokens": 0,
        **more,
    }


def test_the_time_left_at_a_steady_speed() -> None:
    clock = Clock()
    pace = Pace(5000, clock)
    assert pace.left(10_000) is None
    for n in range(1, 6):
        clock.now += 2
        pace.count(5000 + 500 * n)
    assert pace.left(10_000) == pytest.approx(2500 / 250)
    assert pace.left(7000) == 0


def test_the_time_left_follows_a_change_of_speed() -> None:
    clock = Clock()
    pace = Pace(0, clock)
    for n in range(1, 101):
        clock.now += 1 if n <= 50 else 4
        pace.count(100 * n)
    assert pace.left(11_000) == pytest.approx(40, rel=0.01)


def test_a_plain_line_at_the_first_step_the_last_and_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    terminal = Terminal("text_8k", 100, 100_000, stream=stream, clock=clock)
    for n in range(1, 101):
        clock.now += 0.5
        terminal.step(record(n))
    terminal.close()
    lines = stream.getvalue().splitlines()
    steps = [int(line.split()[2].split("/")[0]) for line in lines]
    assert steps == [1, 21, 41, 61, 81, 100]
    assert lines[1] == (
        "text_8k  step 21/100  21K tokens  loss 3.2123  grad 0.512  lr 0.0016  12.3K tok/s  "
        "ETA 0:00:40"
    )


def test_what_is_known_is_said() -> None:
    terminal = Terminal("s", 9, 9000, stream=io.StringIO())
    line = terminal.line(record(1, mfu=0.2534, dropped_tokens=1234, loss=float("nan")))
    assert "MFU 25.3%" in line
    assert "dropped 1.23K" in line
    assert "padding" not in line
    assert "tok/s  padding 12.5%" in terminal.line(record(1, padding=0.125))
    assert "loss nan" in line
    assert "ETA -" in line


def test_a_live_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    terminal = Terminal("text_8k", 2, 2000, stream=screen)
    terminal.step(record(1))
    terminal.say("saved [step 1]")
    terminal.step(record(2))
    terminal.close()
    shown = screen.getvalue()
    assert "step 2/2" in shown
    assert "saved [step 1]" in shown
