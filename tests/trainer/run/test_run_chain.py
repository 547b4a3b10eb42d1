"""``--chain`` for real: stages trained one after another, each from what the one before learned."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.run.saved_bits import saved_bits
from tests.trainer.run.small_runs import MODEL, curve, metrics
from trainer.command import main
from trainer.megatron import checkpoints

FIRST, SECOND = "text_8k", "text_128k"
LENGTHS = {FIRST: 128, SECOND: 2048}
"""Of the stages of the project's recipes, at 1/64."""
BATCH, BUDGET = 2048, 8 * 2048
"""Tokens of the first batch, and of each stage."""
STEPS = {FIRST: 3, SECOND: 8}
"""Batches of the first stage grow: 2048, 8192 and then 16384 tokens."""


def lines(*arguments: str) -> list[dict[str, Any]]:
    """What a command prints, as a pipe gets it: of a step, an event, or how a stage ended."""
    out = io.BytesIO()
    text = io.TextIOWrapper(out)
    with redirect_stdout(text):
        code = main(arguments)
        text.flush()
    assert code == 0, out.getvalue()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def ends(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How stages ended."""
    return [line for line in said if "state" in line]


@dataclass
class Runs:
    """Where chains are trained, and how."""

    folder: Path
    options: tuple[str, ...]

    def asked(self, chain: str, stage: str, *more: str) -> list[str]:
        """The command of a stage in the folder of a chain."""
        return ["run", "--stage", stage, "--out", str(self.out(chain, stage)), *self.options, *more]

    def out(self, chain: str, stage: str) -> Path:
        return self.folder / chain / stage


@pytest.fixture(scope="module")
def runs(built_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("chain")
    model = folder / f"{MODEL.name}.yaml"
    model.write_text(MODEL.model_dump_json())
    return Runs(folder, (
        "--model", str(model), "--corpus", str(built_run), "--scale", "1/64", "--rate", "1e-2",
        "--tokens", str(BUDGET), "--batch", str(BATCH), "--micro-batch", str(BATCH),
        "--long-qa", "0", "--epochs", "100", "--deterministic", "--json",
    ))  # fmt: skip


@pytest.fixture(scope="module")
def whole(runs: Runs) -> list[dict[str, Any]]:
    """What a chain says that nothing interrupts, in the folder ``whole``."""
    return lines(*runs.asked("whole", SECOND, "--chain"))


def test_each_stage_begins_with_what_the_one_before_learned(
    runs: Runs, whole: list[dict[str, Any]]
) -> None:
    told = [(x["stage"], x["state"], x["step"]) for x in ends(whole)]
    assert told == [(stage, "finished", steps) for stage, steps in STEPS.items()]
    # A stage's end is told before the next begins.
    order = [x.get("stage", x["step"]) for x in whole if "loss" in x]
    assert order == [*range(1, STEPS[FIRST] + 1), FIRST, *range(1, STEPS[SECOND] + 1), SECOND]
    curves = {stage: metrics(runs.out("whole", stage)) for stage in LENGTHS}
    for stage, length in LENGTHS.items():
        assert [line["step"] for line in curves[stage]] == list(range(1, STEPS[stage] + 1))
        state = checkpoints.read_state(runs.out("whole", stage) / "checkpoints", STEPS[stage])
        assert state["identity"]["stage"]["length"] == length
    before, after = curves[FIRST], curves[SECOND]
    assert after[0]["loss"] < before[0]["loss"] - 0.05  # it does not begin again
    # Nor does Adam: its steps are counted on.
    for stage, taken in ((FIRST, STEPS[FIRST]), (SECOND, sum(STEPS.values()))):
        folder = checkpoints.path_of(runs.out("whole", stage) / "checkpoints", STEPS[stage])
        assert json.loads((folder / "complete.json").read_text())["adam_step"] == taken


def test_a_chain_that_is_finished_trains_nothing(runs: Runs, whole: list[dict[str, Any]]) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        kept = [path for name in LENGTHS for path in runs.out("whole", name).rglob("*.distcp")]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in kept}

    before, curves = files(), [curve(runs.out("whole", stage)) for stage in LENGTHS]
    assert before
    (again,) = ends(lines(*runs.asked("whole", SECOND, "--chain", "--resume")))
    assert (again["stage"], again["state"], again["step"]) == (SECOND, "finished", STEPS[SECOND])
    assert files() == before
    assert [curve(runs.out("whole", stage)) for stage in LENGTHS] == curves


@pytest.mark.parametrize("stopped", [FIRST, pytest.param(SECOND, marks=pytest.mark.long)])
def test_a_chain_that_was_stopped_goes_on_bit_for_bit(
    runs: Runs, whole: list[dict[str, Any]], stopped: str
) -> None:
    """In whichever stage."""
    part = ends(lines(*runs.asked(stopped, stopped, "--chain", "--steps", "2")))
    assert (part[-1]["stage"], part[-1]["state"], part[-1]["step"]) == (stopped, "paused", 2)
    rest = ends(lines(*runs.asked(stopped, SECOND, "--chain", "--resume")))
    assert [x["stage"] for x in rest] == list(LENGTHS)[list(LENGTHS).index(stopped) :]
    for stage in LENGTHS:
        assert curve(runs.out(stopped, stage)) == curve(runs.out("whole", stage))
        found, expected = (
            saved_bits(runs.out(chain, stage) / "checkpoints", STEPS[stage])
            for chain in (stopped, "whole")
        )
        assert found == expected
