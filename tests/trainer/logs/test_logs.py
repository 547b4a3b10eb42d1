"""All logs of a run together, TensorBoard and wandb among them."""

from __future__ import annotations

import importlib
import importlib.machinery
import io
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

import trainer.logs.logs
from trainer.logs import Logs, read_metrics
from trainer.logs.boards import TensorBoard
from trainer.logs.flat import flat


def record(step: int, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "tokens": 10 * step,
        "loss": 1 / step,
        "grad_norm": 1.0,
        "lr": 1e-3,
        "tokens_per_second": 50.0,
        "mfu": None,
        "dropped_tokens": 0,
        **more,
    }


@pytest.fixture
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.logs.logs, "has_tensorboard", lambda: False)


def test_flat_names() -> None:
    nested = {"a": 1, "b": {"c": [2.0, {"d": 3}], "e": None}, "f": "text", "g": True}
    assert dict(flat(nested)) == {"a": 1.0, "b/c/0": 2.0, "b/c/1/d": 3.0}


@pytest.mark.usefixtures("no_tensorboard")
def test_json_goes_to_standard_output_and_nothing_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = io.BytesIO()
    with Logs(tmp_path, "text_8k", 2, 20, json=True, output=output) as logs:
        logs.step(record(1))
        logs.say("checkpoint", "saved step 1", step=1)
        logs.step(record(2, router={"load": [0.5, 0.5]}))
        logs.sync()
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line.get("event", line.get("step")) for line in lines] == [1, "checkpoint", 2]
    assert lines[1] == {"event": "checkpoint", "message": "saved step 1", "step": 1}
    assert [lines[0], lines[2]] == list(read_metrics(tmp_path / "metrics.jsonl"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("no_tensorboard")
def test_people_read_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Logs(tmp_path, "text_8k", 2, 20) as logs:
        logs.step(record(1))
        logs.say("checkpoint", "saved step 1")
        logs.step(record(2))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[1:2] or line for line in err.splitlines()] == [
        ["step 1/2"], "saved step 1", ["step 2/2"],
    ]  # fmt: skip
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.usefixtures("no_tensorboard")
def test_a_resumed_run_cuts_what_it_does_again(tmp_path: Path) -> None:
    for done, last in ((0, 5), (3, 7)):
        with Logs(
            tmp_path, "s", 7, 70, done=done, tokens=10 * done, json=True, output=io.BytesIO()
        ) as logs:
            for step in range(done + 1, last + 1):
                logs.step(record(step))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [*range(1, 8)]


def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    for done, last in ((0, 5), (3, 7)):
        board = TensorBoard(tmp_path, done)
        for step in range(done + 1, last + 1):
            board.write(record(step, loss=float(100 * done + step), norms={"experts": 2.0}))
        board.close()
        time.sleep(1.1)  # files are read in the order of the seconds that they begin at
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (1, 1), (2, 2), (3, 3), (4, 304), (5, 305), (6, 306), (7, 307),
    ]  # fmt: skip
    assert {e.value for e in events.Scalars("norms/experts")} == {2.0}
    assert "mfu" not in events.Tags()["scalars"]


class FakeRun:
    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.lines.append((step, numbers))

    def finish(self) -> None:
        self.finished = True


@pytest.mark.usefixtures("no_tensorboard")
def test_wandb_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = FakeRun(), {}
    fake = types.ModuleType("wandb")
    fake.__spec__ = importlib.machinery.ModuleSpec("wandb", None)

    def init(**options: Any) -> FakeRun:
        asked.update(options)
        return run

    monkeypatch.setattr(fake, "init", init, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    ids = []
    for folder in ("a/out", "b/out", "a/out"):
        with Logs(
            tmp_path / folder,
            "s",
            1,
            10,
            json=True,
            wandb="leyden",
            config={"scale": "1/64"},
            output=io.BytesIO(),
        ) as logs:
            ids.append(asked["id"])
            if folder == "b/out":
                logs.step(record(1, mixture={"short": 0.3}))
    assert ids[0] == ids[2] != ids[1]  # a run's own, and kept over a resume
    assert (asked["project"], asked["name"], asked["resume"]) == ("leyden", "out", "allow")
    assert asked["config"] == {"scale": "1/64"}
    ((step, numbers),) = run.lines
    assert step == 1
    assert (numbers["loss"], numbers["mixture/short"]) == (1.0, 0.3)
    assert run.finished


def test_wandb_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match="pip install wandb"):
        Logs(tmp_path / "out", "s", 1, 10, wandb="leyden")
    assert not (tmp_path / "out").exists()
