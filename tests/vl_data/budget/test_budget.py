"""``python -m vl_data budget``: tokens over the stages against a run, by hand-computed figures."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.tokenizer import Tokenizer
from tests.vl_data.made_images import encode, pixels
from tests.vl_data.made_runs import Made, make_run, marked, rewrite_index
from trainer.stages.loading import load_stage, names_of
from vl_data.budget.amounts import tokens_of
from vl_data.budget.plan import plan_budget, view_of
from vl_data.budget.stages import PAIRS, STAGES, TOKENS, Draw, PairStage, Stage, shares_of
from vl_data.budget.supply import Held
from vl_data.command import main
from vl_data.tiling import plan

PICTURE = encode(pixels(80, 60), "png"), 80, 60
WIDE = encode(pixels(300, 60), "png"), 300, 60
FIGURES = {
    "descriptions": [(PICTURE, "high"), (WIDE, "low"), (WIDE, "unscored")],
    "instructions": [(PICTURE, "medium"), (WIDE, "medium")],
}
TILED = ("--tiling", "tiny56", "--tiling", "vl_stage1=fixed56")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    documents = [
        Made(source, **marked(f"An answer of {source}.", image), tier=tier)
        for source, held in FIGURES.items()
        for image, tier in held
    ]
    documents += [Made("news", "Some text of a page that is plain.") for _ in range(5)]
    # Held-out documents are no supply.
    documents += [Made("descriptions", **marked("Held out.", PICTURE), split="heldout")]
    documents += [Made("preferences", **marked("One or the other.", PICTURE, PICTURE))]
    documents += [Made("preferences", "Of text alone.", loss=(0, 3))]
    return make_run(tmp_path_factory.mktemp("runs") / "pictures", documents, tokenizer)


def _asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = main(["budget", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def _draws(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {draw["name"]: draw for stage in answer["stages"] for draw in stage["draws"]}


def test_the_stages_are_those_of_the_recipes() -> None:
    """The recipes lie in a room above: this is what keeps the two equal."""
    named = [name for name in names_of("stages") if name.startswith("vl_")]
    assert named == [*(stage.name for stage in STAGES), PAIRS.name]
    for stage in STAGES:
        recipe = load_stage(stage.name)
        assert recipe.draws is not None
        assert (recipe.tiling, recipe.length) == (stage.tiling, stage.length)
        assert recipe.tokens == stage.share * 10**9
        assert [_said(name, draw) for name, draw in recipe.draws.items()] == list(stage.draws)
        most = getattr(recipe, "most_epochs", None)
        assert (4 if most is None else most) == stage.epochs
    pairs = load_stage(PAIRS.name).draws
    assert pairs is not None
    assert [_said(name, draw) for name, draw in pairs.items()] == [PAIRS.draw]


def _said(name: str, draw: Any) -> Draw:
    excepted = getattr(draw, "except_sources", None) or ()
    return Draw(name, draw.sources or (), excepted, draw.weight)


@given(st.integers(0, 10**13), st.lists(st.fractions(0, 1000), min_size=1, max_size=5))
def test_shares_add_up_and_are_nearest(total: int, parts: list[Fraction]) -> None:
    parts[0] += 1
    found = shares_of(total, parts)
    assert sum(found) == total
    for share, part in zip(found, parts, strict=True):
        assert abs(share - part * total / sum(parts)) < 1


def test_the_published_split_is_scaled_to_the_published_sum() -> None:
    assert tokens_of("512B") == TOKENS
    found = shares_of(TOKENS, [stage.share for stage in STAGES])
    assert found == [75_183_553_597, 394_713_656_388, 42_102_790_015]


def test_a_run_has_what_its_index_says(
    run: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = _asked(capsys, run, "--tokens", "2000", *TILED)
    assert (code, answer["ok"], answer["enough"]) == (0, True, False)
    assert [stage["tokens"] for stage in answer["stages"]] == [294, 1542, 164]
    draws = _draws(answer)
    said = {s: len(tokenizer.encode(f"An answer of {s}.")) + 1 for s in FIGURES}  # with its eod
    held = draws["descriptions"]["available"]
    assert held == {
        "tokens": 3 * said["descriptions"] + 3 * 16,
        "text_tokens": 3 * said["descriptions"],
        "image_tokens": 3 * 16,
        "documents": 3,
        "documents_with_images": 3,
        "images": 3,
        "left_out": 0,
    }
    tiles = [plan(*image[1:], "tiny56").tokens for image in (PICTURE, WIDE)]
    assert draws["instructions"]["available"]["image_tokens"] == sum(tiles)
    # 20 to 1, and text is all that no other draw names.
    assert [draws[name]["wanted_tokens"] for name in ("instructions", "text")] == [1469, 73]
    assert [one["source"] for one in draws["text"]["sources"]] == ["news"]
    assert draws["text"]["available"]["images"] == 0
    assert answer["pairs"] == {
        "stage": "vl_stage4", "wanted": 40_000, "available": 1, "text_only": 1, "missing": 39_999
    }  # fmt: skip
    assert answer["unused_sources"] == []


def test_caps_of_tiers_and_stages_say_what_is_missing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, answer = _asked(capsys, run, "--tokens", "5000", "--split", "1:1:0", *TILED)
    draw = _draws(answer)["descriptions"]
    each = draw["available"]["tokens"] // 3
    # high 4, low 1, and of no tier as often as the stage allows.
    assert [one["most_epochs"] for one in draw["sources"]] == [4, 1, 4]
    assert draw["drawn_tokens"] == 9 * each
    assert draw["most_epochs"] == pytest.approx(3)
    assert draw["epochs"] == pytest.approx(2500 / (3 * each))
    assert draw["missing"]["tokens"] == 2500 - 9 * each
    # New documents of the run's mean, each read three times as those of the run are.
    new = -(-(2500 - 9 * each) // (3 * each))
    assert draw["missing"]["documents"] == draw["missing"]["images"] == new
    _, changed = _asked(
        capsys, run, "--tokens", "5000", "--split", "1:1:0", *TILED,
        "--epochs", "high=2", "--epochs", "vl_stage1=3",
    )  # fmt: skip
    draw = _draws(changed)["descriptions"]
    assert [one["most_epochs"] for one in draw["sources"]] == [2, 1, 3]
    # A draw of nothing lacks nothing; one without documents cannot say how many it lacks.
    assert _draws(answer)["experience"]["missing"] == {"tokens": 0, "documents": 0, "images": 0}
    _, answer = _asked(capsys, run, "--tokens", "5000", *TILED)
    assert _draws(answer)["experience"]["missing"]["documents"] is None


def test_a_run_that_has_enough_says_so() -> None:
    stage = Stage("one", Fraction(1), "tiny56", 100, (Draw("a", ("a",)),), epochs=2)
    held = {"a": Held(10, 10, 10, 40, 60, 0), "p": Held(50_000, 40_000, 40_000, 1, 1, 0)}
    supply = {view_of(stage): {(source, "unscored"): some for source, some in held.items()}}
    pairs = PairStage("pairs", 40_000, Draw("p", ("p",)))
    for tokens, enough in ((200, True), (201, False)):
        budget = plan_budget(tokens, [Fraction(1)], [stage], {}, supply, pairs)
        assert budget.enough is enough
        (draw,) = budget.stages[0].draws
        assert draw.missing_documents == draw.missing_images == (0 if enough else 1)
    assert budget.pairs.of_text == 10_000


def test_documents_longer_than_a_sequence_are_left_out(
    run: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow, wide = (plan(*image[1:], "tiny56").tokens for image in (PICTURE, WIDE))
    assert wide > narrow
    length = len(tokenizer.encode("An answer of instructions.")) + 1 + narrow
    _, answer = _asked(capsys, run, *TILED, "--length", f"vl_stage2={length}")
    found = _draws(answer)["instructions"]["available"]
    assert (found["documents"], found["left_out"]) == (1, 1)
    assert _draws(answer)["descriptions"]["available"]["left_out"] == 0


def test_sources_of_other_names(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, answer = _asked(capsys, run, *TILED, "--sources", "experience=news")
    draws = _draws(answer)
    assert draws["experience"]["available"]["documents"] == 5
    assert draws["text"]["sources"] == []
    _, answer = _asked(capsys, run, *TILED, "--sources", "text=nothing")
    assert answer["unused_sources"] == ["news"]


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_versions_of_the_index(
    version: int, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run", [Made("descriptions", **marked("A.", PICTURE))], tokenizer)
    _, now = _asked(capsys, folder, *TILED)
    rewrite_index(folder, version)
    code, answer = _asked(capsys, folder, *TILED)
    if version == 2:  # which counts no fixed56: from the sizes
        assert (code, answer) == (0, now)
    else:
        assert code == 1
        assert (
            "found an index of version 1, which knows no images in 1 documents" in answer["error"]
        )


def test_runs_that_are_none(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> str:
        code, answer = _asked(capsys, *arguments)
        assert (code, answer["ok"]) == (1, False)
        return str(answer["error"])

    assert "found no journal/run.json, expected a finished run" in refused(tmp_path)
    folder = make_run(tmp_path / "text", [Made("news", "Plain.")], tokenizer)
    assert "found no image in 1 documents, expected a run with images" in refused(folder)
    (path,) = (folder / "index").iterdir()
    path.write_bytes(b"PAR1 and no more")
    assert f"index/{path.name}: found" in refused(folder)
    for record in (folder / "journal" / "records").rglob("*.json"):
        record.write_bytes(record.read_bytes()[:-9])
    assert "found a damaged record" in refused(folder)
    (folder / "journal" / "run.json").write_bytes(b"{")
    assert "journal/run.json is damaged" in refused(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tokens", "many"), "--tokens: found 'many', expected a number of tokens such as 512B"),
        (("--split", "1:2"), "--split: found '1:2', expected 3 parts for vl_stage1, vl_stage2"),
        (("--split", "0:0:0"), "--split: found"),
        (("--tiling", "huge"), "--tiling: found 'huge', expected one of released28"),
        (("--tiling", "text_8k=tiny56"), "--tiling: found 'text_8k', expected one of vl_stage1"),
        (("--epochs", "high=0"), "--epochs: found '0', expected a whole number"),
        (("--epochs", "best=2"), "--epochs: found 'best', expected one of vl_stage1"),
        (("--sources", "news"), "--sources: found 'news', expected DRAW=SOURCE"),
    ],
)
def test_options_that_make_no_sense(
    arguments: tuple[str, str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = _asked(capsys, run, *arguments)
    assert code == 2
    assert message in answer["error"]


def test_people_get_a_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", str(run), *TILED]) == 0
    told = capsys.readouterr().out
    assert told.startswith("512B tokens over the stages 80:420:44.8")
    assert "the parts add up to 544.8 billion, and each is scaled by 0.9398" in told
    assert "experience: the run has no such source" in told
    assert "40,000 pairs with images wanted: 1 there, 39,999 missing; 1 of text alone" in told
    assert told.endswith("NOT enough\n")
