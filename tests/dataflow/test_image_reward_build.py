"""What captions are worth, as a step of the build: measured where asked for, and dropping nothing
but by rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow.build import Built, build
from dataflow.recipe import RecipeError, load_recipe
from dataflow.retokenize import retokenize
from dataflow.run import Run
from dataflow.steps.image_reward import _read
from dataflow.store import Store
from dataflow.verify import verify
from dataflow.why import story
from tests.dataflow.corpora import write_corpus
from tests.dataflow.picture_corpora import (
    picture_format,
    write_picture_corpus,
    write_picture_recipe,
)
from vl_data.reward.caption_words import log2_floor
from vl_data.reward.pairs import pairs_of
from vl_data.reward.scores_file import SCHEMA, ScoresError, scores_digest, write_scores
from vl_data.signals import schema

SCORES = "image_reward: {scores: scores.parquet}\n"


@pytest.fixture(scope="module", autouse=True)
def _format() -> Iterator[None]:
    with picture_format():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=20)
    write_picture_corpus(folder)
    return folder


def recipe_with(corpus: Path, section: str, **options: Any) -> Path:
    recipe = write_picture_recipe(corpus, **options)
    recipe.write_text(recipe.read_text() + section)
    return recipe


def built(recipe: Path, out: Path) -> tuple[Run, Built]:
    found = build(recipe, str(out), show=False)
    run = Run.load(Store(str(out)))
    assert verify(run).problems == []
    return run, found


@pytest.fixture(scope="module")
def plain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return built(write_picture_recipe(corpus), tmp_path_factory.mktemp("runs") / "plain")[0]


def signals(run: Run) -> dict[bytes, dict[str, Any]]:
    """Those of the step, of each document."""
    found: dict[bytes, dict[str, Any]] = {}
    for partition in run.partitions:
        assert partition.image_reward is not None
        table = run.table(partition.image_reward, "signals")
        assert table.schema.remove_metadata() == schema("image_reward")
        ids = run.table(partition.read, "documents", ["doc_id"])["doc_id"].to_pylist()
        found |= dict(zip(ids, table.to_pylist(), strict=True))
    return found


def pair_ids(run: Run) -> list[bytes]:
    found: set[bytes] = set()
    for partition in run.partitions:
        pairs = pairs_of(run.table(partition.read, "documents", ["images"]))
        found |= set(pairs.ids().tolist() if len(pairs) else [])
    return sorted(found)


def scored(run: Run, path: Path, gain: float, scorer: str = "who") -> None:
    """A file in which all pairs of a run but the first have one gain."""
    ids = pair_ids(run)[1:]
    columns = {"pair_id": ids, "gain": [gain] * len(ids), "gain_unseen": [None] * len(ids)}
    write_scores(path, scorer, "root", pa.table(columns, schema=SCHEMA))


def files(run: Run, *folders: str) -> dict[str, tuple[str, int]]:
    """Hash and time of each file of some folders."""
    found = {}
    for row in pq.read_table(f"{run.store.uri}/manifest.parquet").to_pylist():
        if row["path"].startswith(folders):
            stat = Path(run.store.uri, row["path"]).stat()
            found[row["path"]] = row["blake3"], stat.st_mtime_ns
    return found


def test_it_changes_nothing_else(corpus: Path, plain: Run, tmp_path: Path) -> None:
    assert all(partition.image_reward is None for partition in plain.partitions)
    assert "image_reward" not in plain.store.read("recipe.lock.yaml").decode()
    run, _ = built(recipe_with(corpus, "image_reward: {}\n"), tmp_path / "run")
    assert run.header["logical_root"] == plain.header["logical_root"]
    for ours, theirs in zip(run.partitions, plain.partitions, strict=True):
        assert ours.settle.key == theirs.settle.key
    for mine, other in zip(run.shards, plain.shards, strict=True):
        assert (mine.pack.key, mine.tokenize.key) == (other.pack.key, other.tokenize.key)
    assert load_recipe(Path(run.store.uri) / "recipe.lock.yaml", corpus).image_reward is not None
    found = signals(run)
    told = story(run, next(iter(found)))
    assert "image_reward.score" in told["signals"]


def words_of(caption: str) -> set[str]:
    """The corpus' captions are of letters, digits and punctuation."""
    return set(re.findall("[a-z0-9]+", caption.lower()))


def test_words_are_counted_over_the_whole_run(corpus: Path, tmp_path: Path) -> None:
    run, _ = built(recipe_with(corpus, "image_reward: {}\n"), tmp_path / "one")
    other, _ = built(
        recipe_with(corpus, "image_reward: {}\n", partition_bytes="8KiB"), tmp_path / "many"
    )
    assert len(other.partitions) > len(run.partitions)
    assert signals(run) == signals(other)
    captions = []
    for partition in run.partitions:
        captions += pairs_of(run.table(partition.read, "documents", ["images"])).caption.to_pylist()
    having: dict[str, int] = {}
    for caption in captions:
        for word in set(caption.lower().split()):
            having[word] = having.get(word, 0) + 1
    checked = 0
    for partition in run.partitions:
        pairs = pairs_of(run.table(partition.read, "documents", ["images"]))
        assert partition.image_reward is not None
        bits = run.table(partition.image_reward, "signals")["caption.bits"].to_pylist()
        for row, caption in zip(pairs.row.tolist(), pairs.caption.to_pylist(), strict=True):
            if pairs.count[row] == 1:
                words = words_of(caption)
                total = len(words) * log2_floor(len(captions) + 1)
                assert bits[row] == (total - sum(log2_floor(having[w]) for w in words)) / 256
                checked += 1
    assert checked > 5


def test_scores_are_read_and_only_they_are_when_they_change(
    corpus: Path, plain: Run, tmp_path: Path
) -> None:
    scored(plain, corpus / "scores.parquet", 0.125)
    recipe = recipe_with(corpus, SCORES)
    run, _ = built(recipe, tmp_path / "run")
    first = pair_ids(run)[0]
    seen = set()
    for partition in run.partitions:
        pairs = pairs_of(run.table(partition.read, "documents", ["images"]))
        assert partition.image_reward is not None
        rows = run.table(partition.image_reward, "signals").to_pylist()
        known = set(pairs.row[[one != first for one in pairs.ids().tolist()]].tolist())
        for number, row in enumerate(rows):
            assert row["image_reward.gain"] == (0.125 if number in known else None)
            assert row["image_reward.agreement"] == (1.5 if number in known else None)
            assert row["image_reward.gain_unseen"] is None
            parts = [row[f"image_reward.{part}"] for part in ("informativeness", "originality")]
            if row["image_reward.score"] is not None:
                assert row["image_reward.score"] == sum(parts) + (1.5 if number in known else 1)
            seen.add(row["image_reward.score"] is None)
        path = run.store.uri + "/" + partition.image_reward.outputs["signals"].path
        assert pq.read_schema(path).metadata[b"leyden.scorer"] == b"who"
    assert seen == {True, False}
    before = files(run, "shards", "index", "ledger", "documents")
    scored(plain, corpus / "scores.parquet", -0.5, "another")
    again, found = built(recipe, tmp_path / "run")
    # What words tell was swept with the other temporary outputs.
    assert found.executed == len(again.partitions) + 1
    assert files(again, "shards", "index", "ledger", "documents") == before
    assert again.header["logical_root"] == run.header["logical_root"]
    values = {row["image_reward.agreement"] for row in signals(again).values()}
    assert values == {None, 0.0}
    retokenize(again.store, next(Path(again.store.uri, "tokenizer").iterdir()))
    kept = Run.load(again.store)
    assert verify(kept).problems == []
    assert signals(kept) == signals(again)


def test_rules_and_survivor_terms_name_the_score(corpus: Path, plain: Run, tmp_path: Path) -> None:
    scored(plain, corpus / "scores.parquet", -0.5)
    rules = "{signal: image_reward.agreement, min: 0.5}, {signal: image.count, max: 9}"
    recipe = recipe_with(corpus, SCORES, rules=rules, survivor="image_reward.score desc")
    run, _ = built(recipe, tmp_path / "run")
    mine = signals(run)
    dropped = {True: 0, False: 0}
    for partition in run.partitions:
        for row in run.table(partition.settle, "dispositions").to_pylist():
            low = mine[row["doc_id"]]["image_reward.agreement"] == 0
            assert (row["rule"] == "image_reward.agreement") == low
            dropped[low] += 1
    assert min(dropped.values()) > 5
    assert "image_reward.agreement" in run.store.read("report.html").decode()


def test_tiers_name_the_score(corpus: Path, plain: Run, tmp_path: Path) -> None:
    """Documents of text have none, and stay without a tier; other scores rewrite no shard."""
    ways = "tiers: {by: {image_reward.score: 1}, min_documents: 4, min_tokens: 10}\n"
    tiers = []
    before: dict[str, tuple[str, int]] = {}
    for turned in (1, -1):
        ids = pair_ids(plain)
        gains = [turned * (number % 9 - 4) / 16 for number in range(len(ids))]
        rows = {"pair_id": ids, "gain": gains, "gain_unseen": gains}
        write_scores(corpus / "scores.parquet", f"{turned}", "", pa.table(rows, schema=SCHEMA))
        run, _ = built(recipe_with(corpus, SCORES + ways), tmp_path / "run")
        scores = {key: row["image_reward.score"] for key, row in signals(run).items()}
        found = {}
        for shard in run.shards:
            for row in run.table(shard.index, "index", ["doc_id", "tier"]).to_pylist():
                found[row["doc_id"]] = row["tier"]
        for doc_id, tier in found.items():
            assert (tier == "unscored") == (scores[doc_id] is None)
        low, high = (
            [scores[key] for key, tier in found.items() if tier == name] for name in ("low", "high")
        )
        assert max(low) < min(high)
        tiers.append(found)
        now = files(run, "shards")
        assert before in ({}, now)
        before = now
    assert tiers[0] != tiers[1]


@pytest.mark.parametrize(
    ("section", "options", "said"),
    [
        ("", {"rules": "{signal: image_reward.score, min: 1}"},
         "found image_reward.score, expected it only where the recipe has `image_reward`"),
        ("", {"rules": "{signal: image.count, max: 9, when: {caption.bits: {min: 1}}}"},
         "found caption.bits, expected it only where the recipe has `image_reward`"),
        ("", {"survivor": "image_reward.score desc"},
         "found image_reward.score, expected it only where the recipe has `image_reward`"),
        ("image_reward: {}\n", {"rules": "{signal: image_reward.score, min: 6}"},
         "unreachable threshold min 6"),
        ("image_reward: {scores: none.parquet}\n", {}, "none.parquet', which is not there"),
        ("image_reward: {scores: 's3://bucket/scores'}\n", {}, "expected a local file of scores"),
        ("image_reward: {scores: a.jsonl}\n", {}, "a.jsonl: no Parquet file to read"),
        ("image_reward: {scorer: x}\n", {}, "unknown key 'scorer'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_the_build(
    corpus: Path, section: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe(recipe_with(corpus, section, **options))
    assert said in str(raised.value)


def test_scores_that_change_under_the_build_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    for scorer in ("one", "two"):
        write_scores(path, scorer, "root", SCHEMA.empty_table())
        digest = scores_digest(path)
        assert _read(str(path), digest).scorer == scorer
    write_scores(path, "three", "root", SCHEMA.empty_table())
    _read.cache_clear()
    with pytest.raises(ScoresError, match="as when the build began"):
        _read(str(path), digest)


def test_a_corpus_of_text_has_nulls(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=12)
    recipe = recipe_with(tmp_path, "image_reward: {}\n")
    text = recipe.read_text()
    begin, end = text.index("  - name: pages"), text.index("clean:")
    recipe.write_text(text[:begin] + text[end:])
    run, _ = built(recipe, tmp_path / "run")
    assert {value for row in signals(run).values() for value in row.values()} == {None}
