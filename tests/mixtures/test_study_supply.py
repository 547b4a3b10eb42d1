"""A mixture that an arm's corpus does not give refuses the study before anything is made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataflow.recipe import RecipeError
from mixtures.plan import Plan, PlanRefused
from mixtures.recipe import mixture_of
from mixtures.stage_frame import stage_spec
from tests.mixtures.faked_studies import arm_that, make_corpus, run_faked, starts, study_file
from tests.mixtures.made_runs import Made, make_run

pytestmark = pytest.mark.usefixtures("trainer_asked_once")

FEW = {"part": {"salt": "s", "start": 0, "stop": "1/32"}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "run")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of which every eighth document has many words."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    documents = [
        Made("prose", 40 + i % 7, signals={"gopher.words": 90.0 if i % 8 == 0 else 10.0})
        for i in range(400)
    ]
    make_run(folder, documents, shard_documents=100)
    return folder


def of(**components: dict[str, Any]) -> dict[str, Any]:
    return {"mixture": {"components": components}}


def refused(path: Path, out: Path) -> list[str]:
    """The problems of a study that is refused, each with its place; and nothing was begun."""
    with pytest.raises(RecipeError) as found:
        run_faked(path, out)
    assert not list(out.glob("logs/*")), "a worker was started"
    assert not (out / "items").exists()
    assert not (out / "study.json").exists()
    assert starts(out) == 0
    assert not list(out.glob(".supply-*")), "the plans stay"
    lines = path.read_text().splitlines()
    for problem in found.value.problems:
        key = problem.key.split(".")[1]
        assert any(f'"{key}"' in line for line in lines[problem.line - 2 : problem.line])
    return [f"{problem.key}: {problem.render()}" for problem in found.value.problems]


def test_all_bad_arms_are_told_at_once_where_they_stand(tmp_path: Path, corpus: Path) -> None:
    arms = {
        "clean": None,
        "none": of(a={"tiers": ["hihg"], "weight": "100%"}),
        "few": of(
            a={**FEW, "weight": "60%"},
            b={"part": {"salt": "s", "start": "1/32", "stop": 1}, "weight": "40%"},
        ),
    }
    none, few = refused(study_file(tmp_path, corpus, arms=arms), tmp_path / "out")
    assert none.startswith("arms.none.mixture: ")
    assert f"found a mixture that {corpus} does not give" in none
    assert "component 'a' matches no train document" in none
    assert "nearest to 'hihg' is 'high'" in none
    assert few.startswith("arms.few.mixture: ")
    assert "capped" in few
    # What is told can be written into the arm, and is then met.
    nearest = yaml.safe_load(few.split("Nearest mixture that can be met:\n")[1])
    nearest["components"]["b"]["part"]["stop"] = 1
    arms = {"clean": None, "few": {"mixture": nearest}}
    assert run_faked(study_file(tmp_path, corpus, arms=arms), tmp_path / "out").complete


def test_views_are_of_the_signals_that_were_measured(
    tmp_path: Path, corpus: Path, measured: Path
) -> None:
    asked = {"where": ["gopher.words >= 50"], "weight": "100%"}
    arms: dict[str, Any] = {"clean": None, "long": of(a=asked)}
    [line] = refused(study_file(tmp_path, corpus, arms=arms), tmp_path / "out")
    assert "signal 'gopher.words' was not measured in this run" in line
    arms["long"]["corpus"] = {"run": str(measured)}
    assert run_faked(study_file(tmp_path, corpus, "own", arms=arms), tmp_path / "own").complete
    arms["long"] = of(a={**asked, "epochs": 1}) | {"corpus": {"run": str(measured)}}
    [line] = refused(study_file(tmp_path, corpus, "once", arms=arms), tmp_path / "once")
    assert f"found a mixture that {measured} does not give" in line
    assert "it can be met up to a budget of" in line


def test_an_arm_s_own_corpus_is_the_one_that_is_asked(tmp_path: Path, corpus: Path) -> None:
    small = tmp_path / "small"
    make_run(small, [Made("prose", 40)] * 10)
    arms = {"clean": None, "other": {**arm_that("clean", None), "corpus": {"run": str(small)}}}
    [line] = refused(study_file(tmp_path, corpus, arms=arms), tmp_path / "out")
    assert line.startswith("arms.other.mixture: ")
    assert re.search(r"budget of 1,5\d\d tokens", line)  # four times 400, in whole sequences


def test_a_stage_that_no_run_of_a_study_can_train_is_told(tmp_path: Path, corpus: Path) -> None:
    arms = {
        "clean": None,
        "later": {**arm_that("a", None), "stage": "text_32k"},
        "pictures": {**arm_that("b", None), "stage": "vl_stage1"},
        "scaled": {**arm_that("c", None), "scale": "1/3"},
    }
    later, pictures, scaled = refused(study_file(tmp_path, corpus, arms=arms), tmp_path / "out")
    assert "found stage text_32k, which starts from the weights of text_8k" in later
    assert pictures.startswith("arms.pictures.mixture: ")
    assert scaled.startswith("arms.scaled.mixture: ")
    assert "scale" in scaled


def test_what_is_trained_is_not_asked_again(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study_file(tmp_path, corpus)
    assert run_faked(path, tmp_path / "out").complete
    asked: list[Any] = []
    monkeypatch.setattr(Plan, "compile", asked.append)
    assert run_faked(path, tmp_path / "out").complete
    assert asked == []


def test_the_stage_is_as_the_model_is_trained_by_it(tmp_path: Path, corpus: Path) -> None:
    asked = ("text_8k", "--model", "tiny", "--corpus", str(corpus), "--tokens", "4096")
    spec = stage_spec(asked)
    assert (spec.length, spec.tokens, spec.seed) == (128, 4096, 0)
    assert stage_spec(("text_8k", "--corpus", str(corpus))).length == 8192
    mixture = mixture_of(arm_that("all", None)["mixture"])
    plan = Plan.compile(corpus, spec, mixture, 7, out=tmp_path)
    assert plan.spec.seed == 7
    assert plan.components == ("all",)


def test_a_plan_is_of_the_names_of_its_stage_and_mixture(tmp_path: Path, corpus: Path) -> None:
    stage = Path(__file__).resolve().parents[2] / "recipes" / "studies" / "short_text.yaml"
    mixture = tmp_path / "mine.yaml"
    mixture.write_text("components: {high: {tiers: [high], weight: 100%, epochs: 40}}")
    plan = Plan.compile(corpus, str(stage), mixture, 3, out=tmp_path)
    assert (plan.length, len(plan), plan.spec.seed) == (128, 2048, 3)
    assert plan.components == ("high",)
    mixture.write_text("components: {high: {tiers: [high], weight: 100%}}")
    with pytest.raises(PlanRefused, match=r"the mixture cannot be met\n(.*\n)*.*up to a budget of"):
        Plan.compile(corpus, str(stage), mixture, 3, out=tmp_path)


def test_an_arm_may_differ_in_any_field_of_its_recipes(tmp_path: Path, corpus: Path) -> None:
    same = arm_that("all", None)
    arms: dict[str, Any] = {
        "clean": same,
        "same": {**same, "changes": {"stage": {"name": "text_8k"}}},
        "decay": {**same, "changes": {"stage": {"optimizer": {"weight_decay": 0}}}},
        "half": {**same, "precision": "bf16", "changes": {"model": {"layers": 4}}},
    }
    arms["half"]["changes"]["model"]["mixers"] = ["lightning", "lightning", "lightning", "softmax"]
    out = tmp_path / "out"
    found = run_faked(study_file(tmp_path, corpus, arms=arms, precision="fp32"), out)
    assert found.complete
    assert starts(out) == 12
    told = found.study["arms"]
    assert told["same"]["same_as"] == "clean"
    assert told["decay"]["overrides"] == {"changes": arms["decay"]["changes"]}
    identities = {}
    for line in found.results:
        identity = json.loads((out / ".runs" / line["key"] / "identity.json").read_text())
        identities[line["arm"]] = identity
    clean, decay, half = (identities[name] for name in ("clean", "decay", "half"))
    assert decay["stage"]["optimizer"] == {**clean["stage"]["optimizer"], "weight_decay": 0}
    assert {k: v for k, v in decay.items() if k != "stage"} | {"seed": 0} == {
        **{k: v for k, v in clean.items() if k != "stage"}, "seed": 0,
    }  # fmt: skip
    assert (clean["precision"], half["precision"]) == ("fp32", "bf16")
    assert half["model"]["layers"] == 4
    # The trainer reads what was written as it reads its own: what is usual of text_8k still holds.
    spec = stage_spec((told["decay"]["stage"], "--model", told["half"]["model"],
                       "--corpus", str(corpus), "--tokens", "4096"))  # fmt: skip
    assert spec.length == 128

    arms = {"clean": same, "typed": {**same, "changes": {"stage": {"optimiser": {}}}}}
    [problem] = refused(study_file(tmp_path, corpus, "typed", arms=arms), tmp_path / "typed")
    assert "'optimizer'" in problem
