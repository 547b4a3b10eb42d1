"""What ``python -m trainer`` answers: exit codes, and errors in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.command import main
from trainer.stages.schedule import step_count


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_an_unknown_stage_is_a_wrong_recipe(
    capsys: pytest.CaptureFixture[str], built_run: Path, tmp_path: Path
) -> None:
    asked = ("run", "--model", "tiny", "--corpus", built_run, "--out", tmp_path / "x")
    code, _, err = run(capsys, *asked, "--stage", "text_9k")
    assert code == 2
    assert "text_8k" in err  # the nearest name
    code, out, _ = run(capsys, *asked, "--stage", "text_9k", "--json")
    assert code == 2
    answer = json.loads(out)
    assert answer["ok"] is False
    assert "text_8k" in answer["error"]


def test_a_stage_before_that_is_missing_names_the_command(
    capsys: pytest.CaptureFixture[str], built_run: Path, tmp_path: Path
) -> None:
    code, _, err = run(
        capsys, "run", "--stage", "text_128k", "--model", "tiny", "--corpus", built_run,
        "--out", tmp_path / "text_128k",
    )  # fmt: skip
    assert code == 1
    assert "python -m trainer run --stage text_8k --model tiny" in err


def test_a_folder_that_is_no_corpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run(
        capsys, "run", "--stage", "text_8k", "--model", "tiny", "--corpus", tmp_path / "empty",
        "--out", tmp_path / "x",
    )  # fmt: skip
    assert code == 1
    assert "empty" in err


@pytest.mark.parametrize(
    "wrong", [("--scale", "0"), ("--tokens", "many"), ("--tp", "0"), ("--precision", "fp8")]
)
def test_arguments_that_are_none(wrong: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            ["run", "--stage", "text_8k", "--model", "tiny", "--corpus", "x", "--out", "y", *wrong]
        )
    assert ended.value.code == 2


def test_the_chain_runs_what_is_missing_and_no_more(
    capsys: pytest.CaptureFixture[str],
    built_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import trainer.run.train
    from trainer.run.outcome import Outcome
    from trainer.run.request import Request

    trained: list[Request] = []

    def remember(request: Request) -> Outcome:
        trained.append(request)
        steps = step_count(request.stage)
        return Outcome("finished", request.stage.name, steps, steps, 0, 1.0, None)

    finished: set[str] = {"text_8k"}
    monkeypatch.setattr(trainer.run.train, "train", remember)
    monkeypatch.setattr(trainer.run.train, "is_finished", lambda out: out.name in finished)
    asked: list[Any] = [
        "run", "--stage", "text_512k", "--model", "tiny", "--corpus", built_run, "--chain",
        "--out", tmp_path / "text_512k", "--steps", "3",
    ]  # fmt: skip
    code, out, _ = run(capsys, *asked)
    assert code == 0
    assert [r.stage.name for r in trained] == ["text_128k", "text_512k"]
    assert [r.out for r in trained] == [tmp_path / "text_128k", tmp_path / "text_512k"]
    assert [r.steps for r in trained] == [None, 3]  # a stage before is run to its end
    assert out.count("finished") == 2


def test_several_processes_are_launched_with_the_whole_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainer.launch.launch
    from trainer.launch.errors import LaunchFailed

    launched: list[Any] = []

    def remember(*arguments: Any, quiet: bool) -> int:
        launched.append((*arguments, quiet))
        if len(launched) > 1:
            raise LaunchFailed("rank 1 of 2: no such stage", 2)
        return 1

    monkeypatch.setattr(trainer.launch.launch, "launch", remember)
    given = ["run", "--stage", "s", "--model", "m", "--corpus", "c", "--out", str(tmp_path)]
    more = [*given, "--processes", "2"]
    assert run(capsys, *more) == (1, "", "")
    assert launched == [(more, 2, None, str(tmp_path), False)]
    on_ray = [*given, "--ray", "auto", "--json"]
    code, out, _ = run(capsys, *on_ray)
    assert code == 2
    assert json.loads(out) == {"ok": False, "error": "rank 1 of 2: no such stage"}
    assert launched[1] == (on_ray, None, "auto", str(tmp_path), True)
