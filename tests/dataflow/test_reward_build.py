"""`reward` and `tiers` of a build: what is scored, what is written again, and what stays."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dataflow import code, graph, indexplaces
from dataflow.build import build
from dataflow.executor import TaskFailed
from dataflow.ids import content_id
from dataflow.journal import Record
from dataflow.locks import BuildError
from dataflow.recipe import load_recipe, plan_recipe
from dataflow.recipe.models import Reward
from dataflow.retokenize import retokenize
from dataflow.rewardguard import check_scored
from dataflow.run import Run
from dataflow.steps import reward as steps_reward
from dataflow.store import Store
from dataflow.tasks import STEP_MODULES
from dataflow.tokenizer import train
from dataflow.verify import verify
from dataflow.verify_tiers import check_scorers, check_tiered, check_tiers
from dataflow.why import find_documents, story, tell
from quality.reward import score
from quality.reward.score_documents import score_documents
from quality.reward.scores_file import student_scorer, write_scores
from quality.reward.student import load_student
from quality.reward.student.model import read_model, write_model
from quality.reward.student.scoring import SHIPPED
from tests.dataflow.corpora import sentence_text, write_corpus, write_recipe

PLAIN_ROOT = "94f33d3861e9b059a1962489801b6e3cbe0834d6476a096ae510308235c6bf8d"
"""The logical root of ``write_corpus`` and ``write_recipe`` before there was any `reward`."""

TIERS = "tiers: {min_documents: 5, min_tokens: 100}\n"
DEFAULT = "reward: {student: default}\n"
SCORES = ("reward.depth", "reward.helpfulness", "reward.coherence")


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
def tiered(corpus: Path, plain: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The plain run, scored and tiered in place."""
    out = tmp_path_factory.mktemp("runs") / "tiered"
    shutil.copytree(plain.store.uri, out)
    return _build(corpus, out, DEFAULT + TIERS)


def _copy(run: Run, folder: Path) -> Path:
    shutil.copytree(run.store.uri, folder / "run")
    return folder / "run"


def _recipe(corpus: Path, more: str, change: tuple[str, str] = ("", "")) -> Path:
    """Another recipe over the same files."""
    text = (corpus / "recipe.yaml").read_text().replace(*change)
    path = corpus / "other.yaml"
    path.write_text(text + more)
    return path


def _build(corpus: Path, out: Path, more: str, change: tuple[str, str] = ("", "")) -> Run:
    build(_recipe(corpus, more, change), str(out), show=False)
    run = Run.load(Store(str(out)))
    assert verify(run).problems == []
    return run


def _stamps(run: Run, folder: str) -> dict[str, tuple[int, bytes]]:
    root = Path(run.store.uri)
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def _index(run: Run) -> pa.Table:
    return pa.concat_tables([run.table(shard.index, "index") for shard in run.shards])


def _signals(run: Run) -> dict[bytes, dict[str, Any]]:
    """The scores of each document, by id."""
    found: dict[bytes, dict[str, Any]] = {}
    for partition in run.partitions:
        assert partition.reward is not None
        ids = run.table(partition.read, "documents", ["doc_id"])["doc_id"].to_pylist()
        rows = run.table(partition.reward, "signals").to_pylist()
        found.update(zip(ids, rows, strict=True))
    return found


def _student(folder: Path, points: int = 1) -> Path:
    """The shipped student, but for ``points`` more in the depth of every text."""
    model, _ = read_model(SHIPPED)
    intercepts = model.intercepts.copy()
    intercepts[0] += points << 16
    path = folder / f"student-{points}.zip"
    path.write_bytes(write_model(dataclasses.replace(model, intercepts=intercepts)))
    return path


def _scores_of(run: Run, path: Path, keep: float = 1.0) -> pa.Table:
    """A file of scores of a share of a run's documents: made up, by content, in all categories."""
    ids = sorted(
        {
            value
            for partition in run.partitions
            for value in run.table(partition.read, "documents", ["content_id"])[
                "content_id"
            ].to_pylist()
        }
    )
    ids = [value for value in ids if value[2] < 256 * keep]
    steps = np.array([value[0] * 5 // 4 for value in ids])
    table = pa.table(
        {
            "content_id": pa.array(ids, pa.binary(16)),
            **{name: pa.array((steps / 64).astype(np.float32)) for name in SCORES},
            "reward.category": ["health" if v[1] < 40 else "software_documentation" for v in ids],
        }
    )
    write_scores(path, [table], "somebody rubric-1")
    return table


def test_a_recipe_without_either_is_as_it_was(plain: Run) -> None:
    assert plain.header["logical_root"] == PLAIN_ROOT
    assert plain.grade is plain.categories is None
    assert not plain.header.keys() & {"grade", "categories", "tiers_root"}
    lock = plain.store.read("recipe.lock.yaml").decode()
    assert "reward" not in lock
    assert "tiers" not in lock
    folders = {path.name for path in Path(plain.store.uri).iterdir()}
    assert not folders & {"reward", "tiers"}
    assert set(_index(plain)["tier"].to_pylist()) == {"unscored"}


def test_no_task_of_a_recipe_without_either_has_another_key(corpus: Path) -> None:
    """What these sections add is in the keys of no task that a plain recipe has."""

    def tasks(more: str) -> dict[tuple[str, str], str]:
        recipe, plans = plan_recipe(_recipe(corpus, more))
        parts = graph.partition_tasks(recipe, [p for part in plans.values() for p in part])
        return {(task.step, task.name): task.key for part in parts for task in part.all}

    bare, scored = tasks(""), tasks(DEFAULT + TIERS)
    assert bare.items() <= scored.items()
    assert {step for step, _ in scored.keys() - bare.keys()} == {"reward"}


def test_scores_and_tiers_come_to_a_built_run_and_leave_without_a_trace(
    plain: Run, tiered: Run, corpus: Path, tmp_path: Path
) -> None:
    assert tiered.header["logical_root"] == plain.header["logical_root"]
    assert _stamps(tiered, "shards").keys() == _stamps(plain, "shards").keys()
    out = _copy(tiered, tmp_path)
    before = _stamps(Run.load(Store(str(out))), "shards")
    bare = _build(corpus, out, "")
    assert bare.header["file_root"] == plain.header["file_root"]
    assert _stamps(bare, "shards") == before
    assert {p.name for p in (out / "index").iterdir()} == {
        p.name for p in (Path(plain.store.uri) / "index").iterdir()
    }


def test_every_text_has_the_scores_of_the_student(tiered: Run) -> None:
    for partition in tiered.partitions:
        assert partition.reward is not None
        documents = tiered.table(partition.read, "documents", ["doc_id", "text"])
        found = tiered.table(partition.reward, "signals")
        assert found.equals(score(documents).drop_columns(["doc_id"]))
        path = Path(tiered.store.uri) / partition.reward.outputs["signals"].path
        named = pq.read_schema(path).metadata
        assert named[b"leyden.scorer"] == student_scorer("linear", read_model(SHIPPED)[1]).encode()
        assert named[b"leyden.table"] == b"signals/reward"


def test_tiers_are_the_quantiles_of_each_source_and_language(tiered: Run) -> None:
    signals, index = _signals(tiered), _index(tiered)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in index.to_pylist():
        groups.setdefault((row["source"], row["language"]), []).append(row)
    assert set(groups) == {("rows", "en"), ("notes", "en")}
    for rows in groups.values():
        for row in rows:
            found = signals[row["doc_id"]]
            row["score"] = found["reward.depth"] + found["reward.helpfulness"]
        training = [row for row in rows if row["split"] == "train"]
        whole = sum(row["tokens"] for row in training)
        for bound, tiers in ((Fraction(3, 10), ("low",)), (Fraction(3, 4), ("low", "medium"))):
            below = sum(row["tokens"] for row in training if row["tier"] in tiers)
            top = max(row["score"] for row in rows if row["tier"] in tiers)
            # The next cut, one score up or down, is no nearer to the share that is asked for.
            for step in (
                [-row["tokens"] for row in training if row["score"] == top],
                [
                    row["tokens"]
                    for row in training
                    if row["score"] == min(r["score"] for r in training if r["tier"] not in tiers)
                ],
            ):
                assert abs(below - bound * whole) <= abs(below + sum(step) - bound * whole)
            assert all((row["score"] <= top) == (row["tier"] in tiers) for row in rows)


def test_the_tables_of_a_run_add_up(tiered: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiered.grade is not None
    assert tiered.categories is not None
    monkeypatch.chdir(tiered.store.uri)
    (((tokens, documents),), ((shared, counted),)) = (
        duckdb.sql(f"SELECT sum(tokens), {n} FROM '{glob}'").fetchall()
        for glob, n in (
            ("index/*.parquet", "count(*)"),
            ("tiers/shares-*.parquet", "sum(documents)"),
        )
    )
    assert (tokens, documents) == (shared, counted)
    listed = duckdb.sql("SELECT sum(tokens) FROM 'manifest.parquet'").fetchall()
    assert listed == [(tokens,)]
    cuts = tiered.table(tiered.grade, "cuts")
    training = pc.sum(_index(tiered).filter(pc.field("split") == "train")["tokens"]).as_py()
    assert pc.sum(cuts["tokens"]).as_py() == training
    rows = tiered.table(tiered.categories, "categories").to_pylist()
    assert sum(row["documents"] for row in rows) == len(_signals(tiered))
    assert all(row["reward_documents"] == 0 for row in rows)
    assert sum(row["other_documents"] for row in rows) == sum(
        not kept and step == "decide"
        for partition in tiered.partitions
        for kept, step in zip(
            *tiered.table(partition.settle, "dispositions", ["kept", "step"]).to_pydict().values(),
            strict=True,
        )
    )


def test_other_quantiles_write_no_shard_again(tiered: Run, corpus: Path, tmp_path: Path) -> None:
    out = _copy(tiered, tmp_path)
    before = {f: _stamps(Run.load(Store(str(out))), f) for f in ("shards", "signals", "ledger")}
    again = _build(
        corpus,
        out,
        DEFAULT + "tiers: {quantiles: {bad: 0.5, good: 1}, min_documents: 5, min_tokens: 100}\n",
    )
    assert {f: _stamps(again, f) for f in before} == before
    summary = orjson.loads(again.store.read("journal/summary.json"))
    assert summary["executed"] == 1 + len(again.shards)
    assert set(_index(again)["tier"].to_pylist()) == {"bad", "good"}
    assert again.header["tiers_root"] != tiered.header["tiers_root"]
    assert again.header["logical_root"] == tiered.header["logical_root"]
    # Each document is once in what a query over `index/*.parquet` reads.
    assert len(list((out / "index").glob("*.parquet"))) == len(again.shards)
    assert build(corpus / "other.yaml", str(out), show=False).executed == 0


def test_another_student_scores_everything_anew_and_writes_no_shard(
    tiered: Run, corpus: Path, tmp_path: Path
) -> None:
    out = _copy(tiered, tmp_path)
    before = _stamps(Run.load(Store(str(out))), "shards")
    again = _build(corpus, out, f"reward: {{student: {_student(tmp_path)}}}\n" + TIERS)
    assert _stamps(again, "shards") == before
    old, new = _signals(tiered), _signals(again)
    for doc_id, row in old.items():
        assert new[doc_id]["reward.depth"] == min(row["reward.depth"] + 1, 5)
        assert new[doc_id]["reward.helpfulness"] == row["reward.helpfulness"]
    scorers = {
        pq.read_schema(path).metadata[b"leyden.scorer"]
        for path in (out / "signals" / "reward").iterdir()
    }
    assert len(scorers) == 1
    assert len(list((out / "signals" / "reward").iterdir())) == len(again.partitions)
    assert f"reward: {scorers.pop().decode()}" in again.store.read("recipe.lock.yaml").decode()


def test_rules_and_survivors_may_ask_for_scores(tiered: Run, corpus: Path, tmp_path: Path) -> None:
    out = _copy(tiered, tmp_path)
    depths = np.array([row["reward.depth"] for row in _signals(tiered).values()])
    least = float(np.median(depths))
    rule = f"- {{name: deep, signal: reward.depth, min: {least}}}\n    - {{signal: text.words"
    survivor = "dedup: {survivor: [reward.helpfulness desc]}\n"
    again = _build(corpus, out, DEFAULT + TIERS + survivor, ("- {signal: text.words", rule))
    signals = _signals(again)
    rows = [
        row for p in again.partitions for row in again.table(p.settle, "dispositions").to_pylist()
    ]
    for row in rows:
        found = signals[row["doc_id"]]
        assert (row["rule"] == "deep") == (found["reward.depth"] < least)
        if row["rule"] == "exact":
            assert row["survivor"] is not None
    assert Counter(row["rule"] for row in rows)["deep"] > 20
    near = [row for row in rows if row["rule"] == "near"]
    assert near
    for row in near:
        survivor_of = signals[row["survivor"]]["reward.helpfulness"]
        assert survivor_of >= signals[row["doc_id"]]["reward.helpfulness"]


def test_a_file_of_scores_is_taken_by_content(
    tiered: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_reward, "_ROWS", 7)
    out = _copy(tiered, tmp_path)
    table = _scores_of(tiered, tmp_path / "scores.parquet", keep=0.6)
    scores = f"reward: {{scores: {tmp_path / 'scores.parquet'}}}\n"
    again = _build(corpus, out, scores + TIERS)
    wanted = {row.pop("content_id"): row for row in table.to_pylist()}
    nothing = dict.fromkeys([*SCORES, "reward.category"])
    for partition in again.partitions:
        assert partition.reward is not None
        ids = again.table(partition.read, "documents", ["content_id"])["content_id"].to_pylist()
        for content, row in zip(
            ids, again.table(partition.reward, "signals").to_pylist(), strict=True
        ):
            assert row == wanted.get(content, nothing)
    for row in _index(again).to_pylist():
        assert (row["tier"] == "unscored") == (row["content_id"] not in wanted)
    named = pq.read_schema(next((out / "signals" / "reward").iterdir())).metadata
    assert named[b"leyden.scorer"] == b"somebody rubric-1"
    scored = {doc_id for doc_id, row in _signals(again).items() if row["reward.depth"] is not None}
    # Other scores of the same scorer are another input.
    _scores_of(tiered, tmp_path / "scores.parquet", keep=0.4)
    fewer = _signals(_build(corpus, out, scores + TIERS))
    assert {doc_id for doc_id, row in fewer.items() if row["reward.depth"] is not None} < scored


def test_a_file_of_the_students_scores_is_the_student(
    tiered: Run, corpus: Path, tmp_path: Path
) -> None:
    out = _copy(tiered, tmp_path)
    path = tmp_path / "scores.parquet"
    score_documents([out], "linear", load_student(), path)
    again = _build(corpus, out, f"reward: {{scores: {path}}}\n" + TIERS)
    assert _signals(again) == _signals(tiered)
    for old, new in zip(tiered.partitions, again.partitions, strict=True):
        assert old.reward is not None
        assert new.reward is not None
        assert old.reward.stats["scorer"] == new.reward.stats["scorer"]
    assert again.header["tiers_root"] == tiered.header["tiers_root"]


def test_scores_that_change_under_the_build_are_refused(
    tiered: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _copy(tiered, tmp_path)
    path = tmp_path / "scores.parquet"
    _scores_of(tiered, path)
    recipe = _recipe(corpus, f"reward: {{scores: {path}}}\n")
    assert len(tiered.partitions) > 1
    digest = steps_reward._digest

    def changed_after(path: Path, size: int, changed_ns: int) -> str:
        found = digest(path, size, changed_ns)
        _scores_of(tiered, path, keep=0.5)
        return found

    monkeypatch.setattr(steps_reward, "_digest", changed_after)
    with pytest.raises(TaskFailed, match=r"found BLAKE3 .* as when the build began"):
        build(recipe, str(out), show=False)


def test_a_run_refuses_two_scorers() -> None:
    records = [
        Record(str(n), "reward", f"p{n}", stats={"rows": 1, "scored": 1, "scorer": scorer})
        for n, scorer in enumerate(("linear student a", "linear student b"))
    ]
    reward = Reward(student="default")
    check_scored(reward, records[:1])
    with pytest.raises(BuildError, match="scores of linear student a, linear student b, expected"):
        check_scored(reward, records)


def test_texts_without_a_score_are_told_and_none_at_all_ends_the_build(
    tiered: Run, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = _copy(tiered, tmp_path)
    path = tmp_path / "scores.parquet"
    _scores_of(tiered, path, keep=0.9)
    _build(corpus, out, f"reward: {{scores: {path}}}\n")
    assert "has no score for" in caplog.text
    other = pa.table(
        {
            "content_id": pa.array([b"\x07" * 16], pa.binary(16)),
            **{name: pa.array([1.0], pa.float32()) for name in SCORES},
            "reward.category": ["health"],
        }
    )
    write_scores(path, [other], "somebody")
    recipe = _recipe(corpus, f"reward: {{scores: {path}}}\n")
    with pytest.raises(BuildError, match=r"no score for any of \d+ documents .* expected the scor"):
        build(recipe, str(out), show=False)


def test_a_category_that_rules_take_away_is_told_or_ends_the_build(
    tiered: Run, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = _copy(tiered, tmp_path)
    path = tmp_path / "scores.parquet"
    _scores_of(tiered, path)
    rule = "- {name: no-health, signal: reward.depth, min: 4.6, when: {reward.category: [health]}}"
    change = ("- {signal: text.words", f"{rule}\n    - {{signal: text.words")
    reward = f"reward: {{scores: {path}}}\n"
    run = _build(corpus, out, reward, change)
    assert "rules on reward.* take more than 90 % of a category: health: " in caplog.text
    page = run.store.read("report.html").decode()
    assert "Rules on reward.* take more than 90 % of: " in page
    assert run.categories is not None
    rows = run.table(run.categories, "categories").to_pylist()
    health = [row for row in rows if row["category"] == "health"]
    assert sum(row["reward_documents"] for row in health) == sum(
        row["rule"] == "no-health"
        for p in run.partitions
        for row in run.table(p.settle, "dispositions").to_pylist()
    )
    stop = f"reward: {{scores: {path}, guard: {{action: stop}}}}\n"
    recipe = _recipe(corpus, stop, change)
    with pytest.raises(BuildError, match=r"health: .* loosen the rules, leave it to tiers"):
        build(recipe, str(out), show=False)
    caplog.clear()
    _build(corpus, out, f"reward: {{scores: {path}, guard: {{loss: 1}}}}\n", change)
    assert "take more than" not in caplog.text


def test_other_tokens_are_cut_anew(tiered: Run, corpus: Path, tmp_path: Path) -> None:
    out = _copy(tiered, tmp_path)
    before = _stamps(Run.load(Store(str(out))), "shards/content")
    generator = np.random.default_rng(1)
    tokenizer = tmp_path / "tokenizer"
    train([sentence_text(generator, 20) for _ in range(40)], 530, tokenizer)
    retokenize(Store(str(out)), tokenizer)
    again = Run.load(Store(str(out)))
    assert verify(again).problems == []
    assert _stamps(again, "shards/content") == before
    assert again.grade is not None
    cuts = again.table(again.grade, "cuts")
    index = _index(again)
    assert pc.sum(index["tokens"]).as_py() != pc.sum(_index(tiered)["tokens"]).as_py()
    training = pc.sum(index.filter(pc.field("split") == "train")["tokens"]).as_py()
    assert pc.sum(cuts["tokens"]).as_py() == training
    assert set(index["tier"].to_pylist()) == {"low", "medium", "high"}
    assert not (out / "work").exists()
    assert len(list((out / "index").glob("*.parquet"))) == len(again.shards)
    # The recipe's own build puts back what it says.
    back = _build(corpus, out, DEFAULT + TIERS)
    assert back.header["tiers_root"] == tiered.header["tiers_root"]
    assert back.header["file_root"] == tiered.header["file_root"]


def test_tiers_depend_on_neither_memory_nor_partitions(
    tiered: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "ORDER_MEMORY", 4096)
    run = _build(corpus, tmp_path / "run", DEFAULT + TIERS, ("16KiB}", "64KiB}"))
    assert len(run.partitions) < len(tiered.partitions)
    assert run.header["tiers_root"] == tiered.header["tiers_root"]
    assert run.header["logical_root"] == tiered.header["logical_root"]


def test_verify_sees_a_tier_that_no_score_comes_to(tiered: Run, tmp_path: Path) -> None:
    run = Run.load(Store(str(_copy(tiered, tmp_path))))
    shard = run.shards[-1]
    assert shard.tier is not None
    path = Path(run.store.uri) / shard.tier.outputs["index"].path
    table = pq.read_table(path)
    tiers = table["tier"].to_pylist()
    tiers[0] = "low" if tiers[0] != "low" else "high"
    place = table.schema.get_field_index("tier")
    changed = table.set_column(place, table.schema.field("tier"), pa.array(tiers))
    pq.write_table(changed, path)
    assert any("expected" in problem for problem in verify(run).problems)
    # Not the file alone, but all that names it, as a wrong step would have left it.
    problems: list[str] = []
    check_tiered(run, shard, run.table(shard.tokenize, "index"), problems)
    assert any("found tiers of root" in problem for problem in problems)
    stats = {**shard.tier.stats, "root": f"{int(shard.tier.stats['root'], 16) ^ 1:032x}"}
    wrong = dataclasses.replace(shard, tier=dataclasses.replace(shard.tier, stats=stats))
    problems.clear()
    check_tiers(dataclasses.replace(run, shards=[*run.shards[:-1], wrong]), problems)
    assert any("scores and cuts come to root" in problem for problem in problems)


def test_an_index_is_moved_once_even_if_the_build_is_cut_short(
    plain: Run, tiered: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _copy(plain, tmp_path)
    before = _stamps(Run.load(Store(str(out))), "shards")
    moved: list[str] = []
    place = indexplaces._place

    def stop_at_third(*arguments: Any) -> None:
        if len(moved) == 2:
            raise BuildError("cut short")
        moved.append("")
        place(*arguments)

    monkeypatch.setattr(indexplaces, "_place", stop_at_third)
    with pytest.raises(BuildError, match="cut short"):
        build(_recipe(corpus, DEFAULT + TIERS), str(out), show=False)
    monkeypatch.undo()
    run = Run.load(Store(str(out)))
    assert _index(run).num_rows == _index(plain).num_rows
    again = _build(corpus, out, DEFAULT + TIERS)
    assert _stamps(again, "shards") == before
    assert again.header["file_root"] == tiered.header["file_root"]


def test_verify_sees_two_scorers(tiered: Run, tmp_path: Path) -> None:
    run = Run.load(Store(str(_copy(tiered, tmp_path))))
    first = run.partitions[0]
    assert first.reward is not None
    path = Path(run.store.uri) / first.reward.outputs["signals"].path
    table = pq.read_table(path)
    named = {**table.schema.metadata, b"leyden.scorer": b"somebody else"}
    pq.write_table(table.replace_schema_metadata(named), path)
    problems: list[str] = []
    check_scorers(run, problems)
    (problem,) = problems
    assert "linear student " in problem
    assert "somebody else" in problem


def test_the_code_that_scores_and_cuts_is_in_the_keys() -> None:
    def names(step: str) -> set[str]:
        return {str(f.relative_to(code.ROOT)) for f in code.reached(STEP_MODULES[step])}

    assert {"quality/reward/student/scoring.py", "kernels/text/gram_sums.py"} <= names("reward")
    assert {"quality/tiers.py", "dataflow/packedrows.py"} <= names("grade")
    assert not any(name.startswith(("kernels", "quality/reward")) for name in names("tier"))


@pytest.mark.parametrize("reward", ["student: default", "scores: scores.parquet"])
def test_a_run_that_keeps_nothing_has_tiers_of_nothing(
    tiered: Run, tmp_path: Path, reward: str
) -> None:
    (tmp_path / "a.txt").write_text("A few words.")
    (tmp_path / "empty.jsonl").write_text("")
    content = content_id(b"A few words.")
    row = {"content_id": content, **dict.fromkeys(SCORES, 1.0), "reward.category": "news"}
    write_scores(tmp_path / "scores.parquet", [pa.Table.from_pylist([row])], "somebody")
    (tmp_path / "recipe.yaml").write_text(
        "name: none\nsources:\n  - {name: a, paths: [a.txt], rules: long}\n"
        "  - {name: b, paths: [empty.jsonl]}\nrules: {long: [{signal: text.words, min: 50}]}\n"
        f"tokenizer: {{use: {tiered.store.uri}/tokenizer/{tiered.tokenizer.stats['hash']}}}\n"
        f"reward: {{{reward}}}\ntiers: {{}}\n"
    )
    build(tmp_path / "recipe.yaml", str(tmp_path / "run"), show=False)
    run = Run.load(Store(str(tmp_path / "run")))
    assert verify(run).problems == []
    assert run.shards == []
    assert run.grade is not None
    assert run.table(run.grade, "shares").num_rows == run.table(run.grade, "cuts").num_rows == 0
    assert run.categories is not None
    (told,) = run.table(run.categories, "categories").to_pylist()
    assert (told["documents"], told["other_documents"]) == (1, 1)


def test_why_tells_scores_and_tier(tiered: Run) -> None:
    (found,) = find_documents(tiered, "copy.txt")
    told = story(tiered, found)
    line = next(line for line in tell(told).splitlines() if line.startswith("  reward"))
    signals = _signals(tiered)[found]
    assert f"depth {signals['reward.depth']:.6g}" in line
    assert signals["reward.category"] in line
    assert told["signals"]["reward.helpfulness"] == signals["reward.helpfulness"]
    assert told["index"]["tier"] in ("low", "medium", "high")
    assert f"tokens, tier {told['index']['tier']}" in tell(told)


def test_the_lock_gives_the_recipe_again(tiered: Run, corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(_recipe(corpus, DEFAULT + TIERS))
    path = corpus / "locked.yaml"
    path.write_bytes(tiered.store.read("recipe.lock.yaml"))
    assert load_recipe(path) == recipe
    assert build(path, str(_copy(tiered, tmp_path)), show=False).executed == 0
