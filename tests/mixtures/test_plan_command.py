"""``python -m mixtures plan``: the table, refusals, compiled plans, down-sampling, curricula."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.run import Run
from dataflow.store import Store
from mixtures.command import main
from mixtures.crossing import crossed
from mixtures.downsampling import kept, parts_for
from mixtures.inventory import take_inventory
from mixtures.plan import Component, LateMixture, Plan, PlanRefused, PlanSpec, Transition
from mixtures.planning import asked_for, planned
from mixtures.quotas import Quotas
from mixtures.recipe import mixture_of
from mixtures.stage_frame import stage_spec
from tests.mixtures.made_runs import Made, make_run

TWO = """components:
  code: {sources: [code], weight: 40%}
  prose: {sources: [web], tiers: [high], weight: 60%}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    documents = [
        Made("code" if i % 3 == 0 else "web", 5 + i % 11, tier="high" if i % 2 else "low")
        for i in range(120)
    ]
    make_run(folder, documents)
    return folder


def run(
    capsys: pytest.CaptureFixture[str], mixture: Path, *arguments: object
) -> tuple[int, dict[str, Any]]:
    code = main(["plan", str(mixture), *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_the_plan_draws_what_the_table_says(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    mixture = write(tmp_path, TWO)
    asked = ("--corpus", corpus, "--tokens", 480, "--length", 16, "--compile", tmp_path / "plans")
    code, answer = run(capsys, mixture, *asked)
    assert code == 0
    drawn = Plan.open(Path(answer["plan"]["folder"])).summary
    assert [c["drawn"] for c in drawn] == [row["realised"] for row in answer["components"]]
    assert [row["realised"] for row in answer["components"]] == [192, 288]
    assert main(["plan", str(mixture), *map(str, asked)]) == 0
    told = capsys.readouterr().out
    assert answer["plan"]["hash"] in told
    assert "total" in told


def test_what_cannot_be_met_is_refused_with_a_mixture_that_can(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    text = TWO.replace("[code], ", "[code], epochs: 1, ")
    asked = ("--corpus", corpus, "--tokens", 1600, "--length", 16)
    code, answer = run(capsys, write(tmp_path, text), *asked)
    assert code == 1
    assert not answer["ok"]
    assert main(["plan", str(tmp_path / "mine.yaml"), *map(str, asked)]) == 1
    told = capsys.readouterr().out
    assert "capped" in told
    pasted = write(tmp_path, told.split("that can be met:\n")[1])
    code, answer = run(capsys, pasted, *asked, "--compile", tmp_path / "plans")
    assert code == 0
    spreads = write(tmp_path, "on_shortage: spread\n" + text)
    code, spread = run(capsys, spreads, *asked, "--compile", tmp_path / "plans")
    assert code == 0
    realised = [row["realised"] for row in spread["components"]]
    assert realised == [row["realised"] for row in answer["components"]]
    assert [c["drawn"] for c in spread["plan"]["components"]] == realised


def test_without_a_budget_it_is_the_largest_that_can_be_met(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    mixture = write(tmp_path, TWO)
    asked = ("--corpus", corpus, "--length", 16)
    code, answer = run(capsys, mixture, *asked, "--compile", tmp_path / "plans")
    assert code == 0
    most = answer["tokens"]
    assert answer["plan"]["sequences"] == most // 16
    assert most == min(row["limit"] // 16 / row["share"] for row in answer["components"]) // 1 * 16
    code, _ = run(capsys, mixture, *asked, "--tokens", most + 160)
    assert code == 1
    code, answer = run(capsys, write(tmp_path, TWO + "final_tokens: 960\n"), *asked)
    assert (code, answer["tokens"]) == (0, 960)
    code, answer = run(capsys, mixture, "--corpus", corpus)
    assert code == 1, "there is not one sequence of the usual length of code"
    inventory = tmp_path / "i.json"
    inventory.write_text("{}")
    assert run(capsys, mixture, "--inventory", inventory)[0] == 2


def test_the_nearest_mixture_gives_up_a_floor_that_cannot_be_kept(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    text = TWO.replace("[code], ", "[code], epochs: 1, floor: 35%, ")
    asked = ("--corpus", corpus, "--tokens", 1600, "--length", 16)
    for shortage in ("refuse", "spread"):
        mixture = write(tmp_path, f"on_shortage: {shortage}\n{text}")
        assert main(["plan", str(mixture), *map(str, asked)]) == 1
        told = capsys.readouterr().out
        assert "too little for its floor" in told
        pasted = write(tmp_path, told.split("that can be met:\n")[1])
        code, answer = run(capsys, pasted, *asked, "--compile", tmp_path / "plans")
        assert code == 0
        assert sum(c["drawn"] for c in answer["plan"]["components"]) == 1600


def test_a_component_that_matches_nothing_is_told_what_there_is(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    asked = ("--corpus", corpus, "--tokens", 480, "--length", 16)
    code, answer = run(capsys, write(tmp_path, TWO.replace("[high]", "[hihg]")), *asked)
    assert code == 1
    assert "matches no train document" in answer["error"]
    assert "nearest to 'hihg' is 'high'" in answer["error"]
    code, answer = run(capsys, write(tmp_path, TWO.replace("[web]", "[wep]")), *asked)
    assert code == 1
    assert "['wep']" in answer["error"]


def test_a_wrong_file_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    text = TWO.replace("60%", "50%")
    code, answer = run(capsys, write(tmp_path, text), "--corpus", corpus, "--tokens", "48K")
    assert code == 2
    assert "expected 100%" in answer["error"]
    code = main(["plan", str(tmp_path / "mine.yaml"), "--corpus", str(corpus), "--tokens", "48"])
    assert code == 2
    assert "--length" in capsys.readouterr().err


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 500), st.integers(1, 50),
    st.integers(1, 4),
)  # fmt: skip
def test_the_proxy_repeats_as_the_final_run(
    wanted: int, tokens: int, more: int, times: int, passes: int
) -> None:
    budget = wanted + more
    found = kept(wanted, tokens, budget, budget * times, passes)
    final = Fraction(wanted * times, tokens)
    assert found.repetition == min(final, passes)
    assert found.share <= 1
    if wanted <= tokens * passes:
        assert wanted / found.target == found.repetition
    if final <= passes:
        assert found.share == Fraction(1, times)


@pytest.mark.parametrize("final", [480, 960, 4800, 48_000])
def test_parts_have_what_is_kept_to_a_document(corpus: Path, final: int) -> None:
    loaded = Run.load(Store(str(corpus)))
    spec = PlanSpec(
        length=16,
        tokens=480,
        components=(
            Component(name="code", sources=("code",), weight=2),
            Component(name="web", sources=("web",), tiers=("high",), weight=3),
        ),
    )
    inventory = take_inventory(loaded, spec.l1, spec)
    asked = {
        component.name: kept(wanted, inventory.epoch_of(component, spec.l1), 480, final, 4)
        for component, wanted in zip(spec.components, (192, 288), strict=True)
    }
    parts = parts_for(loaded, spec, asked)
    components = [c.model_copy(update={"part": parts.get(c.name)}) for c in spec.components]
    sampled = spec.model_copy(update={"components": tuple(components)})
    found = take_inventory(loaded, spec.l1, sampled)
    for component in components:
        target = asked[component.name].target
        tokens = found.epoch_of(component, spec.l1)
        assert target <= tokens < target + 16  # no document has more


def test_the_final_run_s_repetition_from_the_command(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    asked = ("--corpus", corpus, "--tokens", 320, "--length", 16, "--final-tokens", 960)
    code, answer = run(capsys, write(tmp_path, TWO), *asked, "--compile", tmp_path / "plans")
    assert code == 0
    for row in answer["components"]:
        # A document more or less of at most 15 tokens.
        high = row["realised"] / (row["epoch_tokens"] - 15)
        assert row["epochs"] <= row["final_epochs"] <= high
        assert row["kept"] == pytest.approx(1 / 3, abs=15 / row["epoch_tokens"])
    code, answer = run(capsys, tmp_path / "mine.yaml", *asked[:-1], 100)
    assert code == 1
    assert "final run of 100" in answer["error"]


def test_a_curriculum_is_crossed_with_a_mixture() -> None:
    stage = PlanSpec(
        length=16,
        tokens=16_000,
        l1=16,
        components=(
            Component(name="short", length="short", except_sources=("qa",), weight=3),
            Component(name="medium", length="medium", except_sources=("qa",), weight=7),
            Component(name="long", length="long", except_sources=("qa",), weight=0),
            Component(name="long_qa", sources=("qa",), weight=0),
        ),
        transition=Transition(tokens=1600, previous={"short": 1, "medium": 1}),
        late=LateMixture(start=12_800, weights={"short": 27, "medium": 63, "long_qa": 10}),
    )
    mixture = (
        Component(name="a", sources=("a", "qa"), weight=1, epochs=2),
        Component(name="b", except_sources=("a", "qa"), weight=3),
    )
    found = crossed(stage, mixture)
    assert [c.name for c in found.components] == [
        "a/short", "b/short", "a/medium", "b/medium", "a/long", "b/long", "long_qa",
    ]  # fmt: skip
    assert found.components[0].sources == ("a",)
    assert found.components[0].epochs == 2
    assert not any(c.draws_from("qa") for c in found.components[:-1])
    before, after = Quotas(stage), Quotas(found)
    for token in (0, 16, 800, 1600, 8000, 12_800, 14_400, 16_000):
        for number, component in enumerate(stage.components):
            parts = [i for i, c in enumerate(found.components) if c.name.endswith(component.name)]
            total = sum(Fraction(after.at(i, token), after.unit) for i in parts)
            assert total == Fraction(before.at(number, token), before.unit)
            if component.name != "long_qa" and total:
                assert Fraction(after.at(parts[0], token), after.unit) == total / 4


CLASSES = PlanSpec(
    length=16,
    tokens=320,
    l1=16,
    components=(
        Component(name="short", length="short", weight=1),
        Component(name="medium", length="medium", weight=1),
        Component(name="long", length="long", weight=0),
    ),
)


def test_a_shortage_is_spread_within_the_classes_of_a_stage(tmp_path: Path) -> None:
    # Short is below 4 tokens. Code has 48 tokens of each class, and may be read twice.
    made = [Made("code", 3)] * 16 + [Made("code", 16)] * 3
    made += [Made("web", 3)] * 200 + [Made("web", 16)] * 200
    make_run(tmp_path / "run", made)
    opened = Run.load(Store(str(tmp_path / "run")))
    parts = {
        "code": {"sources": ["code"], "weight": "80%", "epochs": 2},
        "web": {"sources": ["web"], "weight": "20%"},
    }
    refused = planned(mixture_of({"components": parts}), opened, CLASSES)
    assert refused.spec is None
    assert "capped: 96 tokens" in refused.told()
    spreads = mixture_of({"components": parts, "on_shortage": "spread"})
    plan = Plan.compile(tmp_path / "run", CLASSES, spreads, 3, out=tmp_path / "plans")
    assert {c["name"]: c["drawn"] for c in plan.summary if c["drawn"]} == {
        "code/short": 96, "web/short": 64, "code/medium": 96, "web/medium": 64,
    }  # fmt: skip
    assert plan.spec.seed == 3
    # What one class of a component lacks is not taken from another component's: it is refused.
    make_run(tmp_path / "uneven", made[15:])
    with pytest.raises(PlanRefused, match=r"code/short .* capped: 6 tokens"):
        Plan.compile(tmp_path / "uneven", CLASSES, spreads, out=tmp_path / "plans")


def test_a_component_with_a_class_of_its_own_is_refused_beside_a_stage_s() -> None:
    with pytest.raises(PlanRefused, match="the stage says how much"):
        crossed(CLASSES, [Component(name="a", length="short", weight=1)])


def test_a_stage_is_planned_as_a_model_is_trained_by_it(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    mixture = write(tmp_path, TWO)
    asked = ("--corpus", corpus, "--stage", "text_8k", "--stage-tokens", 256, "--seed", 5)
    code, answer = run(capsys, mixture, *asked, "--model", "tiny", "--scale", "1/64")
    assert code == 0, answer
    spec = answer["spec"]
    assert (spec["length"], spec["tokens"], spec["seed"]) == (128, 256, 5)
    assert spec == asked_for(
        Run.load(Store(str(corpus))),
        stage_spec(["text_8k", "--corpus", str(corpus), "--model", "tiny", "--tokens", "256",
                    "--scale", "1/64"]),
        mixture, 5,
    ).model_dump(mode="json")  # fmt: skip
    code, answer = run(capsys, mixture, "--corpus", corpus, "--tokens", 256, "--model", "tiny")
    assert (code, answer["error"]) == (2, "found --model without --stage, whose it is")


def test_a_stage_that_draws_for_itself_takes_no_mixture(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    mixture = write(tmp_path, TWO)
    code, answer = run(capsys, mixture, "--corpus", corpus, "--stage", "vl_stage1")
    assert code == 1
    assert "stage vl_stage1: found draws" in answer["error"]
    with pytest.raises(PlanRefused, match="found draws"):
        Plan.compile(corpus, "vl_stage1", mixture, out=tmp_path)


def test_on_paper(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    inventory = tmp_path / "i.json"
    parts = {"code": {"tokens": "100B"}, "prose": {"documents": 3, "tokens": "400B"}}
    inventory.write_text(json.dumps({"components": parts}))
    mixture = write(tmp_path, TWO)
    code, answer = run(capsys, mixture, "--inventory", inventory, "--tokens", "512B")
    assert code == 0
    assert [row["realised"] for row in answer["components"]] == [204_800_000_000, 307_200_000_000]
    code, answer = run(capsys, mixture, "--inventory", inventory, "--tokens", "1.2T")
    assert code == 1
    inventory.write_text('{"components": {"code": {"tokens": 5}}}')
    code, answer = run(capsys, mixture, "--inventory", inventory, "--tokens", "512B")
    assert code == 1
    assert "'prose'" in answer["error"]
