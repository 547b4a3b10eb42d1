"""What `python -m trainer` answers to bad input: a line that says what to do, and nothing lost."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.commands.calls import LENGTH, MODEL
from trainer.command import main
from trainer.stages.recipe import StageRecipe

STEPS = 4
Told = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``small.yaml``, and the stages ``one`` and ``two``, which comes after it."""
    folder = tmp_path_factory.mktemp("recipes")
    whole = STEPS * 4 * LENGTH
    for name, after in (("one", None), ("two", "one")):
        recipe = StageRecipe.model_validate(
            {
                "name": name, "after": after, "length": LENGTH, "rope_base": 5_000,
                "tokens": whole, "batch": [{"tokens": 4 * LENGTH}],
                "schedule": {"phases": [{"until": whole, "rate": 3e-3}]},
            }
        )  # fmt: skip
        (folder / f"{name}.yaml").write_text(recipe.model_dump_json())  # JSON is YAML
    (folder / "small.yaml").write_text(MODEL.model_dump_json())
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """A command's exit code, and what it said on standard error."""

    def told(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        return code, capsys.readouterr().err

    return told


@pytest.fixture(scope="module")
def asked(recipes: Path, built_run: Path) -> Callable[..., list[object]]:
    """The arguments that train a stage into a folder."""

    def asked(stage: str, out: Path, *more: object) -> list[object]:
        return [
            "run", "--stage", recipes / f"{stage}.yaml", "--model", recipes / "small.yaml",
            "--corpus", built_run, "--out", out, "--save-every", 2, "--deterministic", *more,
        ]  # fmt: skip

    return asked


@pytest.fixture(scope="module")
def finished(asked: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage ``one``, trained; not to be written into."""
    out: Path = tmp_path_factory.mktemp("chain") / "one"
    assert main([str(one) for one in asked("one", out)]) == 0
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "chain" / "one"))


def files(folder: Path) -> dict[Path, bytes]:
    """All that a folder holds."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def cut(path: Path) -> None:
    """A file that lost its end."""
    path.write_bytes(path.read_bytes()[:-4])


def other_format(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))


@pytest.mark.parametrize(
    ("name", "damage", "found"),
    [
        ("state.json", cut, r"bytes, expected"),
        ("common.pt", Path.unlink, "found no file, expected"),
        ("complete.json", cut, "expected JSON"),
        ("complete.json", other_format, "found format 2, expected 1"),
    ],
)
def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again(
    run: Path, asked: Any, told: Told, tmp_path: Path, name: str, damage: Any, found: str
) -> None:
    for step in (2, 4):
        damage(run / "checkpoints" / f"step-{step:08d}" / name)
    before = files(run)
    commands = [
        asked("one", run, "--resume"), asked("one", run), asked("two", tmp_path / "chain" / "two"),
        ["generate", run, "--prompt", "The"],
        ["export", run, "--out", tmp_path / "exported", "--layout", "released"],
    ]  # fmt: skip
    lines = set()
    for command in commands:
        code, error = told(*command)
        assert code == 1
        assert files(run) == before
        lines.add(error)
    (line,) = lines  # the same words from all
    assert line.startswith(f"error: {run}/checkpoints/step-00000004/{name}: found ")
    assert found in line
    assert "is whole and of this format: copy its files here again" in line
    assert not (tmp_path / "chain" / "two").exists()


def test_a_checkpoint_that_is_cut_is_told_once_and_an_earlier_one_used(
    run: Path, asked: Any, told: Told, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut(run / "checkpoints" / "step-00000004" / "state.json")
    assert told(*asked("one", run, "--resume"))[0] == 0
    warned = [text for text in caplog.messages if "not a checkpoint" in text]
    assert len(warned) == 1
    assert "step-00000004/state.json" in warned[0]
    lines = [(x / "metrics.jsonl").read_text().splitlines() for x in (run, finished)]
    losses = [[json.loads(line)["loss"] for line in one] for one in lines]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (("--seed", 7), "seed: found 0, expected 7"),
        (("--rate", "1e-4"), "schedule.phases: found"),
        (("--epochs", 3), "plan: found"),
    ],
)
def test_a_run_of_something_else_is_left_as_it_is(
    run: Path, asked: Any, told: Told, more: tuple[object, ...], found: str
) -> None:
    (run / "tokenizer" / "mark").write_text("of the run")
    before = files(run)
    code, error = told(*asked("one", run, "--resume", *more))
    assert code == 1
    assert error.startswith(f"error: {run}: found a run of something else; ")
    assert found in error
    assert files(run) == before


def test_a_run_of_another_model_is_no_stage_before(
    finished: Path, asked: Any, told: Told, tmp_path: Path
) -> None:
    other = MODEL.model_copy(update={"norm_eps": 1e-3})
    (tmp_path / "small.yaml").write_text(other.model_dump_json())
    out = tmp_path / "two"
    (out / "tokenizer").mkdir(parents=True)
    (out / "tokenizer" / "mark").write_text("of something else")
    before = files(out)
    code, error = told(
        *asked("two", out, "--start-from", finished, "--model", tmp_path / "small.yaml")
    )
    assert code == 1
    assert "found a run of another model; model.norm_eps: found 1e-05, expected 0.001" in error
    assert files(out) == before


@pytest.mark.parametrize("begun", [False, True])
def test_the_command_that_a_missing_stage_names_makes_it(
    finished: Path, asked: Any, told: Told, tmp_path: Path, begun: bool
) -> None:
    out, same = tmp_path / "a folder" / "two", ("--rate", 0.002, "--batch", 256, "--tokens", 1024)
    before = out.parent / "one"
    if begun:
        assert told(*asked("one", before, "--steps", 2, *same))[0] == 0
    code, error = told(*asked("two", out, *same))
    assert code == 1
    assert ("found no finished run, but one at step 2, in" in error) == begun
    (command,) = re.findall(r"it by `python -m trainer (.*)`, or say --start-from", error)
    assert told(*shlex.split(command))[0] == 0
    state = json.loads((before / "checkpoints" / "step-00000004" / "state.json").read_text())
    assert state["finished"]
    assert state["identity"]["stage"]["schedule"]["phases"][0]["rate"] == 0.002
    assert told(*asked("two", out, *same))[0] == 0


def test_a_chain_of_ones_own_stages_is_trained(asked: Any, told: Told, tmp_path: Path) -> None:
    out = tmp_path / "two"
    assert told(*asked("two", out, "--chain"))[0] == 0
    kept = [json.loads((tmp_path / name / "outcome.json").read_text()) for name in ("one", "two")]
    assert [(x["stage"], x["state"]) for x in kept] == [("one", "finished"), ("two", "finished")]
    # The second stage's guards have seen the steps of the first.
    state = json.loads((out / "checkpoints" / "step-00000004" / "state.json").read_text())
    losses = [
        json.loads(line)["loss"]
        for name in ("one", "two")
        for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    ]
    assert state["guard"]["losses"] == losses
    assert {len(norms) for norms in state["layer_guard"].values()} == {2 * STEPS}


def test_a_run_that_diverged_is_no_stage_before(
    run: Path, asked: Any, told: Told, tmp_path: Path
) -> None:
    place = run / "checkpoints" / "step-00000004"
    state, marker = (json.loads((place / x).read_text()) for x in ("state.json", "complete.json"))
    (place / "state.json").write_text(json.dumps({**state, "diverged": "loss nan"}))
    marker["files"]["state.json"] = (place / "state.json").stat().st_size
    (place / "complete.json").write_text(json.dumps(marker))
    code, error = told(*asked("two", tmp_path / "two", "--start-from", run))
    assert code == 1
    assert f"{run}: found loss nan in its last step, expected a run that has not diverged" in error


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--keep-every", "-1", "a whole number from 0"),
        ("--seed", "-1", "a whole number from 0"),
        ("--rate", "-1", "a number above 0"),
        ("--rate", "0", "a number above 0"),
        ("--rate", "nan", "a number above 0"),
        ("--rate", "inf", "a number above 0"),
        ("--long-qa", "1.5", "a share from 0 to 1"),
        ("--epochs", "100000", "a whole number from 1 to"),
    ],
)
def test_numbers_that_cannot_be_are_told_by_the_option(
    asked: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    option: str, value: str, expected: str,
) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in asked("one", tmp_path / "one", f"{option}={value}")])
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"argument {option}: found '{value}', expected {expected}" in told


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_a_device_that_there_is_not(
    finished: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, str(finished), "--device", "foo"])
    assert ended.value.code == 2
    assert "argument --device: found 'foo', expected a device" in capsys.readouterr().err
