"""Studies whose arms ask for what their corpora do not have: refused before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataflow.recipe import RecipeError
from mixtures.command import main
from mixtures.studies import running
from tests.mixtures.made_runs import Made, make_run

FAKE = (str(Path(__file__).with_name("fake_trainer.py")),)
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 6,000 tokens of prose and 1,300 of code, in documents of 40 to 46."""
    folder = tmp_path_factory.mktemp("corpus") / "run"
    prose = [Made("prose", 40 + i % 7, tier="high" if i % 2 else "low") for i in range(140)]
    make_run(folder, [*prose, *(Made("code", 40 + i % 7) for i in range(30))])
    return folder


def _components(**weights: str) -> dict[str, Any]:
    return {
        "components": {
            name: {"sources": [name], "weight": weight} for name, weight in weights.items()
        }
    }


@pytest.fixture
def write(tmp_path: Path, corpus: Path) -> Write:
    """Writes a study's file of these arms."""

    def written(arms: dict[str, Any], **changes: Any) -> Path:
        content = {
            "name": "s", "question": "?", "corpus": {"run": str(corpus)}, "model": "tiny",
            "stage": "text_8k", "scale": "1/64", "tokens": 8192, "seeds": 4,
            "baseline": next(iter(arms), None), "arms": arms, **changes,
        }  # fmt: skip
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return written


def _refused(path: Path, out: Path) -> RecipeError:
    with pytest.raises(RecipeError) as refused:
        running.run_study(path, out=out, workers=2, progress=False, command=FAKE)
    assert not (out / running.STORE).exists()
    return refused.value


def test_each_arm_that_cannot_be_met_is_told_with_its_table_and_the_nearest(
    tmp_path: Path, write: Write
) -> None:
    path = write(
        {
            "prose": {"mixture": _components(prose="100%")},
            "code": {"mixture": _components(prose="20%", code="80%")},
            "typo": {"mixture": _components(cod="100%")},
        }
    )
    error = _refused(path, tmp_path / "out")
    assert [problem.key for problem in error.problems] == [
        "arms.code.mixture", "arms.typo.mixture",
    ]  # fmt: skip
    code, typo = error.problems
    assert path.read_text().splitlines()[code.line - 1].strip() == "components:"
    assert "(arm code)" in code.found
    assert "capped: " in code.expected
    assert "total" in code.expected
    assert "['cod'], expected sources with train documents: code, prose" in typo.expected
    # What is told can be met: pasted, the study trains.
    nearest = yaml.safe_load(code.expected.split("that can be met:\n")[1])
    assert set(nearest["components"]) == {"prose", "code"}
    met = write({"code": {"mixture": nearest}})
    found = running.run_study(
        met, out=tmp_path / "met", workers=2, progress=False, command=FAKE
    )  # fmt: skip
    assert found.complete


def test_an_arm_is_planned_over_its_own_corpus(tmp_path: Path, write: Write, corpus: Path) -> None:
    small = tmp_path / "small"
    make_run(small, [Made("prose", 40 + i % 7) for i in range(30)])
    prose = {"mixture": _components(prose="100%")}
    path = write({"large": prose, "small": {**prose, "corpus": {"run": str(small)}}})
    [problem] = _refused(path, tmp_path / "out").problems
    assert problem.key == "arms.small.mixture"
    assert f"{small} cannot give" in problem.found
    turned = write(
        {"large": prose, "small": {**prose, "corpus": {"run": str(corpus)}}},
        corpus={"run": str(small)},
    )
    [problem] = _refused(turned, tmp_path / "out").problems
    assert problem.key == "arms.large.mixture"


def test_a_stage_that_cannot_be_run_so_is_told_of_its_arms(tmp_path: Path, write: Write) -> None:
    prose = {"mixture": _components(prose="100%")}
    path = write({"one": prose, "other": {**prose, "scale": "1"}}, tokens=4096)
    [problem] = _refused(path, tmp_path / "out").problems
    assert problem.key == "arms.other.mixture"
    assert "found a budget of 4096 tokens, expected at least one sequence" in problem.expected


def test_arms_of_a_repetition_are_planned_too(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    repetition = {"epochs": [2, 4], "tiers": {"high": {"tiers": ["high"]}}}
    path = write({}, kind="repetition", baseline=None, repetition=repetition, tokens=4096)
    text = "\n".join(
        line for line in path.read_text().splitlines() if line not in ("baseline: null", "arms: {}")
    )
    path.write_text(text)
    make = running.repetition_arms

    def without_margin(*arguments: Any) -> Any:
        """Arms of which one reads half of the documents that it needs."""
        arms = make(*arguments)
        arms[1].mixture["components"]["high"]["epochs"] = 2
        return arms

    monkeypatch.setattr(running, "repetition_arms", without_margin)
    [problem] = _refused(path, tmp_path / "out").problems
    assert problem.key == "repetition.tiers.high"
    assert "(arm high-x4)" in problem.found
    assert "in 2 epochs" in problem.expected
    monkeypatch.undo()
    found = running.run_study(path, out=tmp_path / "out", workers=2, progress=False, command=FAKE)
    assert found.complete


def test_the_command_ends_with_2_and_trains_nothing(
    tmp_path: Path,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(running, "run_study", partial(running.run_study, command=FAKE))
    prose, code = _components(prose="100%"), _components(prose="20%", code="80%")
    path = write({"prose": {"mixture": prose}, "code": {"mixture": code}})
    asked = ("ablate", str(path), "--out", str(tmp_path / "out"), "--workers", "2")
    assert main([*asked, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "arms.code.mixture: found a mixture that" in answer["error"]
    assert not (tmp_path / "out" / ".runs").exists()
    assert main(asked) == 2
    told = capsys.readouterr()
    assert "Nearest mixture that can be met:" in told.err
    assert told.out == ""
    # Told by its nearest, it goes on.
    write({"prose": {"mixture": prose}, "code": {"mixture": {**code, "on_shortage": "spread"}}})
    assert main(asked) == 0
