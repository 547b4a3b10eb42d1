"""A stage that draws as a mixture's file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.run import Run
from dataflow.store import Store
from mixtures.errors import PlanRefused
from mixtures.inventory import take_inventory
from mixtures.plan import Plan
from mixtures.recipe import MixtureRecipe, mixture_of
from tests.trainer.run.small_runs import request, stage
from trainer.run.request import RunRefused
from trainer.run.train import train


def mixture(sources: tuple[str, ...], first: str = "25%", rest: str = "75%") -> MixtureRecipe:
    parts = {
        "one": {"sources": [sources[0]], "weight": first, "epochs": 100},
        "rest": {"except_sources": [sources[0]], "weight": rest, "epochs": 100},
    }
    return mixture_of({"components": parts})


def sources_of(run: Path) -> tuple[str, ...]:
    return take_inventory(Run.load(Store(str(run))), 64).sources


def test_the_plan_is_the_mixture_s(built_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = request(str(built_run), out, mixture=mixture(sources_of(built_run)), steps=1)
    train(asked)
    (folder,) = (out / "plans").glob("plan-*")
    plan = Plan.open(folder)
    assert plan.components == ("one", "rest")
    one, rest = (component["drawn"] for component in plan.summary)
    assert one * 3 == rest
    # Goes on by the same mixture, and by no other.
    train(request(str(built_run), out, mixture=asked.mixture, steps=2, resume=True))
    other = mixture(sources_of(built_run), "50%", "50%")
    with pytest.raises(RunRefused, match=r"mixture\.components\.one\.weight"):
        train(request(str(built_run), out, mixture=other, steps=3, resume=True))
    with pytest.raises(RunRefused, match="mixture"):
        train(request(str(built_run), out, steps=3, resume=True))


def test_with_length_classes_it_is_crossed(built_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shares = {"short": 0, "medium": 0.5, "long": 0.5}
    classes = stage(shares=shares, class_length=400)
    train(request(str(built_run), out, stage=classes, mixture=mixture(sources_of(built_run)),
                  steps=1))  # fmt: skip
    (folder,) = (out / "plans").glob("plan-*")
    assert set(Plan.open(folder).components) == {
        f"{name}/{length}" for name in ("one", "rest") for length in shares
    }


def test_what_the_corpus_cannot_give_is_refused(built_run: Path, tmp_path: Path) -> None:
    sources = sources_of(built_run)
    parts = {"one": {"sources": [sources[0]], "weight": "100%", "epochs": 1}}
    asked = request(
        str(built_run), tmp_path / "out", mixture=mixture_of({"components": parts}),
        stage=stage(tokens=64 * 10**6, schedule={"phases": [{"until": 64 * 10**6, "rate": 1e-3}]}),
    )  # fmt: skip
    with pytest.raises(PlanRefused, match="can be met up to a budget of"):
        train(asked)


def test_a_stage_with_draws_is_refused(built_run: Path, tmp_path: Path) -> None:
    draws = stage(draws={"all": {"sources": ["web"]}})
    with pytest.raises(RunRefused, match="draws from sources of its own"):
        request(str(built_run), tmp_path, stage=draws, mixture=mixture(("web",)))
