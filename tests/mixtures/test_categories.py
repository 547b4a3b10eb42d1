"""What `plan` says of categories, and that plans see the tiers that a run has now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from dataflow.build import build
from dataflow.run import Run
from dataflow.store import Store
from mixtures.categories import categories_of, why_unknown
from mixtures.command import main
from mixtures.compiling import plan_key
from mixtures.plan import Plan, PlanRefused
from mixtures.spec import Component, PlanSpec
from mixtures.studies.keys import corpus_identity
from quality.reward.scores_file import write_scores
from tests.dataflow.corpora import write_corpus, write_recipe

SCORES = ("reward.depth", "reward.helpfulness", "reward.coherence")
TIERS = "tiers: {min_documents: 5, min_tokens: 100}\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    write_recipe(folder)
    return folder


@pytest.fixture(scope="module")
def plain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "plain"
    build(corpus / "recipe.yaml", str(out), show=False)
    return Run.load(Store(str(out)))


@pytest.fixture(scope="module")
def run(corpus: Path, plain: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Law is of low scores, news of any; a document in eight has no score."""
    out = tmp_path_factory.mktemp("runs") / "tiered"
    shutil.copytree(plain.store.uri, out)
    ids: set[bytes] = set()
    for partition in plain.partitions:
        table = plain.table(partition.read, "documents", ["content_id"])
        ids |= {value for value in table["content_id"].to_pylist() if value[3] % 8}
    ordered = sorted(ids)
    law = np.array([value[1] % 5 == 0 for value in ordered])
    steps = np.where(law, 0, np.array([value[0] for value in ordered]))
    table = pa.table(
        {
            "content_id": pa.array(ordered, pa.binary(16)),
            **{name: pa.array((steps / 64).astype(np.float32)) for name in SCORES},
            "reward.category": ["law_and_government" if one else "news" for one in law],
        }
    )
    write_scores(corpus / "scores.parquet", [table], "made up")
    return _build(corpus, out, TIERS)


def _build(corpus: Path, out: Path, tiers: str) -> Run:
    recipe = corpus / "other.yaml"
    text = (corpus / "recipe.yaml").read_text()
    recipe.write_text(text + "reward: {scores: scores.parquet}\n" + tiers)
    build(recipe, str(out), show=False)
    return Run.load(Store(str(out)))


def _plan(folder: Path, run: Run, mixture: str, *more: str) -> list[str]:
    (folder / "mixture.yaml").write_text(mixture)
    return [
        *("plan", str(folder / "mixture.yaml"), "--corpus", run.store.uri),
        *("--tokens", "8192", "--length", "512", *more),
    ]


HIGH = "components:\n  good: {tiers: [high], weight: 3/4}\n  fair: {tiers: [medium], weight: 1/4}\n"


def test_shares_of_the_mixture_stand_beside_those_of_the_corpus(run: Run) -> None:
    rows: list[dict[str, Any]] = []
    for partition in run.partitions:
        assert partition.reward is not None
        ids = run.table(partition.read, "documents", ["doc_id"]).append_column(
            "category", run.table(partition.reward, "signals")["reward.category"]
        )
        rows += ids.to_pylist()
    category = {row["doc_id"]: row["category"] or "unscored" for row in rows}
    index = [row for shard in run.shards for row in run.table(shard.index, "index").to_pylist()]
    training = [row for row in index if row["split"] == "train"]
    parts = [
        Component(name="notes", sources=("notes",), tiers=("low", "unscored"), weight=1),
        Component(name="rows", except_sources=("notes",), languages=("en",), weight=1),
        Component(name="none", languages=("fr",), weight=1),
    ]
    drawn = {"notes": 1_000_000, "rows": 3_000_000, "none": 0}
    found = categories_of(run, parts, drawn)
    assert found is not None
    assert found.rough == ()
    wanted = dict.fromkeys(found.corpus, 0.0)
    for name, amount in drawn.items():
        mine = {
            "notes": [
                row
                for row in training
                if row["source"] == "notes" and row["tier"] in ("low", "unscored")
            ],
            "rows": [row for row in training if row["source"] == "rows"],
            "none": [],
        }[name]
        whole = sum(row["tokens"] for row in mine)
        for row in mine:
            wanted[category[row["doc_id"]]] += amount * row["tokens"] / whole / 4_000_000
    assert found.mixture == pytest.approx(wanted, abs=1e-6)
    assert sum(found.corpus.values()) == pytest.approx(1)
    assert set(found.corpus) == {"news", "law_and_government", "unscored"}


def test_a_choice_of_tiers_that_leaves_a_category_out_is_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_plan(tmp_path, run, HIGH)) == 0
    told = capsys.readouterr().out
    assert "category             corpus  mixture\n" in told
    assert "WARNING: nearly gone with the tiers left out: law_and_government: " in told
    assert main(_plan(tmp_path, run, HIGH, "--json")) == 0
    answer = orjson.loads(capsys.readouterr().out)["categories"]
    assert answer["lost"] == ["law_and_government"]
    assert answer["mixture"]["law_and_government"] == 0 < answer["corpus"]["law_and_government"]
    everything = "components:\n  all: {tiers: [low, medium, high, unscored], weight: 1}\n"
    assert main(_plan(tmp_path, run, everything)) == 0
    assert "WARNING" not in capsys.readouterr().out


def test_what_the_table_cannot_tell_is_said(run: Run) -> None:
    part = Component(name="short", length="short", weight=1, where=("text.words > 3",))
    found = categories_of(run, [part], {"short": 100})
    assert found is not None
    assert found.rough == ("short",)
    assert any("as far as sources, languages and tiers tell" in line for line in found.told())


def test_a_run_without_tiers_says_why_categories_are_unknown(
    run: Run, plain: Run, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = tmp_path / "scored"
    shutil.copytree(run.store.uri, scored)
    everything = "components:\n  all: {sources: [rows, notes], weight: 1}\n"
    for one, missing in (
        (plain, "has no `reward:` and no `tiers:`; a build with both"),
        (_build(corpus, scored, ""), "has no `tiers:`; a build with both"),
    ):
        assert categories_of(one, [Component(name="a", weight=1)], {"a": 10}) is None
        assert main(_plan(tmp_path, one, everything)) == 0
        told = capsys.readouterr().out
        assert f"Shares of categories: unknown, for the recipe of the corpus {missing}" in told
        assert main(_plan(tmp_path, one, everything, "--json")) == 0
        answer = orjson.loads(capsys.readouterr().out)
        assert answer["categories"] is None
        assert any(missing in note for note in answer["notes"])
    assert why_unknown(run) is None
    assert main(_plan(tmp_path, run, everything)) == 0
    assert "unknown" not in capsys.readouterr().out


def _spec(**chosen: Any) -> PlanSpec:
    component = Component(name="all", weight=1, epochs=8, **chosen)
    return PlanSpec(length=64, tokens=640, seed=0, components=(component,))


def test_a_plan_reads_the_tiers_of_now(run: Run, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run.store.uri, out)
    before = Run.load(Store(str(out)))
    old = Plan.compile(str(out), _spec(tiers=("low",)), out=tmp_path / "plans")
    any_tier, conditions = plan_key(before, _spec()), plan_key(before, _spec(tiers=("low",)))
    after = _build(corpus, out, "tiers: {quantiles: {low: 0.9, top: 1}, min_documents: 5}\n")
    assert after.header["logical_root"] == before.header["logical_root"]
    new = Plan.compile(str(out), _spec(tiers=("low",)), out=tmp_path / "plans")
    assert new.folder != old.folder
    assert new.summary[0]["tokens"] > old.summary[0]["tokens"]
    assert plan_key(after, _spec(tiers=("low",))) != conditions
    # Who does not ask for tiers has the plan of before; and an old plan can still be read.
    assert plan_key(after, _spec()) == any_tier
    assert len(Plan.open(old.folder, str(out))) == len(old)
    with pytest.raises(PlanRefused, match="high"):
        Plan.compile(str(out), _spec(tiers=("high",)), out=tmp_path / "plans")
    assert corpus_identity(str(out)) != corpus_identity(run.store.uri)


def test_conditions_on_scores_choose_documents_or_say_what_is_missing(
    run: Run, plain: Run, tmp_path: Path
) -> None:
    deep = _spec(where=("reward.depth >= 2",))
    plan = Plan.compile(run.store.uri, deep, out=tmp_path)
    every = Plan.compile(run.store.uri, _spec(), out=tmp_path)
    assert 0 < plan.summary[0]["documents"] < every.summary[0]["documents"]
    with pytest.raises(PlanRefused, match="its recipe has no `reward:`, which measures it"):
        Plan.compile(plain.store.uri, deep, out=tmp_path)
