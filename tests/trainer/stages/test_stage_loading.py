"""YAML of models and stages: what is wrong, where it stands, and what was meant."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from dataflow.recipe import RecipeError
from trainer.stages.loading import RECIPES, chain, load_model, load_stage, names_of

STAGE = """\
name: s
length: 64
rope_base: 10000
tokens: 64K
batch: [{tokens: 640}]
schedule: {phases: [{until: 64K, rate: 1e-3}]}
"""


@pytest.fixture
def stage_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as refused:
        load_stage(path)
    return str(refused.value)


def test_a_stage_of_its_own_file(stage_file: Callable[[str], Path]) -> None:
    stage = load_stage(stage_file(STAGE))
    assert (stage.tokens, stage.schedule.phases[0].rate) == (64_000, 1e-3)


def test_the_files_own_scale(stage_file: Callable[[str], Path]) -> None:
    path = stage_file(STAGE + "scale: 1/2\n")
    assert (load_stage(path).length, load_stage(path).scale) == (32, Fraction(1, 2))
    assert load_stage(path, Fraction(1)).length == 64


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "rope_base: 10000",
            "rope_bas: 10000",
            [":3:1: rope_bas: found unknown key", "'rope_base'"],
        ),
        ("length: 64\n", "", [":1:1: found nothing, expected a value for 'length'"]),
        ("length: 64", "length: long", [":2:9: length: found 'long', expected a number of tokens"]),
        (
            "rate: 1e-3",
            "rate: fast",
            ["s.yaml:6:40: schedule.phases[0].rate: found 'fast', expected a valid number"],
        ),
        ("rate: 1e-3", "rte: 1e-3", ["schedule.phases[0].rte: found unknown key", "'rate'"]),
        ("{tokens: 640}", "{token: 640}", ["batch[0].token: found unknown key", "'tokens'"]),
        ("tokens: 640", "tokens: 100", ["a batch of 100 tokens, expected whole sequences of 64"]),
        ("until: 64K", "until: 32K", ["a schedule until 32000 tokens, expected one until the"]),
        ("name: s", "name: t", [":1:7: name: found 't', expected 's', as the file is called"]),
        ("[{tokens: 640}]", "[]", [":5:8: batch: found a list of 0, expected at least 1"]),
        ("name: s", "name: [s", ["valid YAML"]),
        (STAGE, "", ["found an empty file, expected a mapping"]),
        (
            "length: 64",
            "length: 64\nshares: {short: 0.5, medium: 0.4, long: 0}",
            [":3:9: shares: found shares that sum to 0.9, expected 1"],
        ),
        (
            "rope_base: 10000",
            "rope_base: 10000\nlayer_guard: {action: halt}",
            ["layer_guard.action: found 'halt', expected 'stop', 'roll_back', 'skip' or 'ignore'"],
        ),
        (
            "rope_base: 10000",
            "rope_base: 10000\nvariants: {smooth: {aftr: x}}",
            ["variants.smooth.aftr: found unknown key 'aftr'", "did you mean 'after'?"],
        ),
    ],
)
def test_what_is_wrong_with_a_file(
    stage_file: Callable[[str], Path], before: str, after: str, expected: list[str]
) -> None:
    assert before in STAGE
    message = refusal(stage_file(STAGE.replace(before, after)))
    for part in ["s.yaml", *expected]:
        assert part in message


def test_a_fault_in_a_list_is_one_problem(stage_file: Callable[[str], Path]) -> None:
    assert len(refusal(stage_file(STAGE.replace("rate: 1e-3", "rate: fast"))).splitlines()) == 1


def test_all_that_is_wrong_is_said_at_once(stage_file: Callable[[str], Path]) -> None:
    text = STAGE.replace("length: 64", "length: no").replace("rope_base", "rope")
    assert len(refusal(stage_file(text)).splitlines()) == 3


def test_nearest_name_of_an_unknown_stage_or_model() -> None:
    for load, name, near in (
        (load_stage, "text_128", "text_128k"),
        (load_stage, "text-512k", "text_512k"),
        (load_model, "tny", "tiny"),
        (load_model, "minimax-text-1", "minimax-text-01"),
        (load_model, "recipes/models/1b-8.yaml", "1b-8b"),
    ):
        with pytest.raises(RecipeError, match=f"did you mean '{near}'"):
            load(name)


def test_names_of_models() -> None:
    assert set(names_of("models")) >= {"tiny", "100m", "400m", "1b-8b", "minimax-text-01"}
    for name in names_of("models"):
        assert load_model(name) == load_model(RECIPES / "models" / f"{name}.yaml")


def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    text = (RECIPES / "models" / "tiny.yaml").read_text()
    path = tmp_path / "tiny.yaml"
    path.write_text(text.replace("top_k: 2", "top_k: 9"))
    with pytest.raises(RecipeError, match=r"experts: found top_k 9 of 4 experts, expected at most"):
        load_model(path)


def test_long_qa_0_trains_without(stage_file: Callable[[str], Path]) -> None:
    assert load_stage("text_128k", long_qa=0).long_qa.share == 0
    assert load_stage(stage_file(STAGE + "long_qa: 0\n")).long_qa.share == 0
    assert load_stage(stage_file(STAGE + "long_qa: {share: 0.2, last: 0.5}\n")).long_qa.last == 0.5
    assert "long_qa: found 1.5, expected less than or equal to 1" in refusal(
        stage_file(STAGE + "long_qa: 1.5\n")
    )


def test_unknown_variant() -> None:
    with pytest.raises(RecipeError, match="no variant 'smoth', expected smooth; did you mean"):
        load_stage("text_8k", variant="smoth")


def test_a_chain_of_own_files(tmp_path: Path) -> None:
    for name, after in (("one", None), ("two", "one"), ("three", "text_8k")):
        text = STAGE.replace("name: s", f"name: {name}") + (f"after: {after}\n" if after else "")
        (tmp_path / f"{name}.yaml").write_text(text)
    assert chain(tmp_path / "two.yaml") == [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]
    assert chain(tmp_path / "three.yaml") == ["text_8k", str(tmp_path / "three.yaml")]


def test_a_chain_that_goes_in_a_circle(tmp_path: Path) -> None:
    for name, after in (("one", "two"), ("two", "one")):
        text = STAGE.replace("name: s", f"name: {name}\nafter: {after}")
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(RecipeError, match="a circle two → one → two"):
        chain(tmp_path / "two.yaml")


def test_a_predecessor_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STAGE + "after: text_9k\n")
    with pytest.raises(RecipeError, match=r"no stage 'text_9k'.*did you mean 'text_8k'"):
        chain(tmp_path / "s.yaml")
