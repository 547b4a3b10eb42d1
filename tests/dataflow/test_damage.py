"""Damage on purpose: which documents, what becomes of them, and that nothing else decides."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.recipe import load_recipe
from dataflow.recipe.problems import RecipeError
from dataflow.sources import Damage, Record, SourceError, SourceSpec, plan, read
from dataflow.sources.damage import damaged, is_chosen, shuffle_words
from tests.dataflow.run_tools import run_build

RECIPES = Path(__file__).parents[2] / "recipes"


def texts(count: int) -> list[str]:
    rng = random.Random(5)
    words = [f"word{i}" for i in range(400)]
    return [" ".join(rng.choices(words, k=rng.randint(80, 200))) + f"\n\nend {i}\n"
            for i in range(count)]  # fmt: skip


def plain(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    written = texts(count)
    for i, text in enumerate(written):
        (folder / f"{i:03}.txt").write_text(text, encoding="utf-8")
    return written


def outcomes(folder: Path, share: float | None, partition_bytes: int) -> list[Record]:
    damage = None if share is None else Damage(share)
    spec = SourceSpec("s", paths=(str(folder),), damage=damage)
    assert SourceSpec.from_json(spec.to_json()) == spec
    found = [o for part in plan(spec, partition_bytes) for o in read(spec, part)]
    records = [o for o in found if isinstance(o, Record)]
    assert len(records) == len(found)
    return sorted(records, key=lambda record: record.uri)


@given(st.text())
def test_words_change_places_and_whitespace_does_not(text: str) -> None:
    found = shuffle_words(text)
    assert re.sub(r"\S+", "x", found) == re.sub(r"\S+", "x", text)
    assert Counter(found.split()) == Counter(text.split())
    assert found == shuffle_words(text)


def test_the_order_is_random() -> None:
    """Where the words of 2,000 texts of ten go: a chi-square test of the 100 counts."""
    counts = np.zeros((10, 10))
    for i in range(2000):
        text = " ".join(f"{k}" for k in range(9)) + f" n{i}"
        for place, word in enumerate(shuffle_words(text).split()):
            counts[place, 9 if word.startswith("n") else int(word)] += 1
    chi2 = float(np.square(counts - 200).sum() / 200)
    assert 40 < chi2 < 135  # 81 degrees of freedom
    assert shuffle_words("a b c d e f g") == "d e a g c b f", "it never changes"


def test_shares_are_nested_and_as_large_as_asked() -> None:
    documents = texts(4000)
    chosen = {share: {t for t in documents if is_chosen(t, share)} for share in (0.1, 0.3, 1.0)}
    assert chosen[0.1] < chosen[0.3] < chosen[1.0] == set(documents)
    for share in (0.1, 0.3):
        assert len(chosen[share]) / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("partition_bytes", [1 << 30, 1 << 11])
def test_chosen_documents_are_shuffled_and_say_so(tmp_path: Path, partition_bytes: int) -> None:
    written = plain(tmp_path / "in", 60)
    whole = outcomes(tmp_path / "in", None, 1 << 30)
    assert [record.text for record in whole] == written
    found = outcomes(tmp_path / "in", 0.4, partition_bytes)
    shuffled = 0
    for record, text in zip(found, written, strict=True):
        if is_chosen(text, 0.4):
            assert record.text == shuffle_words(text) != text
            assert record.metadata is not None
            assert record.metadata["damage"] == "shuffle_words"
            shuffled += 1
        else:
            assert record.text == text
            assert "damage" not in (record.metadata or {})
    assert 10 < shuffled < 40
    assert [r.digest for r in found] == [r.digest for r in whole], "of the bytes that were read"


def test_only_a_damaged_source_is_read_again() -> None:
    clean, some, all_ = (
        SourceSpec("s", damage=damage).reading() for damage in (None, Damage(0.5), Damage(1.0))
    )
    assert "damage" not in clean
    assert len({orjson.dumps(r) for r in (clean, some, all_)}) == 3


def test_what_is_not_plain_text_is_refused() -> None:
    record = Record("a", 0, "text", b"", "text/plain", loss=((0, 2),))
    with pytest.raises(SourceError, match="a: found images or spans to learn"):
        list(damaged([record], Damage(1.0)))


RECIPE = """\
name: small
description: Some words.
seed: 3
sources:
  - {{name: words, paths: in, rules: any, {damage}}}
rules:
  any: [{{name: short, signal: text.words, min: 1}}]
tokenizer: {{train: {{vocab_size: 600}}}}
split: {{held_out: 0.1}}
build: {{partition_bytes: {partition}}}
"""


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("damage: {shuffle_words: 1.5}", "damage.shuffle_words"),
        ("damage: {shuffle: 1.0}", "shuffle_words"),
        ("format: llava, damage: {shuffle_words: 1.0}", "plain text only"),
        ("extract: {html: interleaved}, damage: {shuffle_words: 1.0}", "plain text only"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_line(
    tmp_path: Path, damage: str, expected: str
) -> None:
    plain(tmp_path / "in", 1)
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.format(damage=damage, partition="1MiB"))
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert expected in str(error.value)
    assert "small.yaml:5" in str(error.value)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_a_build_is_the_same_at_any_partition_size(tmp_path: Path, workers: int) -> None:
    written = plain(tmp_path / "in", 40)
    roots = set()
    for name, partition, by in (("one", "1MiB", 0), ("two", "4KiB", workers)):
        path = tmp_path / f"{name}.yaml"
        recipe = RECIPE.format(damage="damage: {shuffle_words: 0.5}", partition=partition)
        path.write_text(recipe)
        run = tmp_path / name
        code, output, errors = run_build(path, run, by)
        assert code == 0, errors
        roots.add(re.findall(r"logical root +(\w+)", output)[0])
    assert len(roots) == 1
    rows = ds.dataset(run / "documents").to_table(["text", "metadata"]).to_pylist()
    assert {r["text"] for r in rows} == {
        shuffle_words(t) if is_chosen(t, 0.5) else t for t in written
    }
    marked = [r for r in rows if "shuffle_words" in (r["metadata"] or "")]
    assert len(marked) == sum(is_chosen(t, 0.5) for t in written) > 5


def test_the_corpus_of_the_quickstart_study_shuffles_the_files_of_clean_sources() -> None:
    recipe = load_recipe(RECIPES / "studies" / "quickstart-corpus.yaml")
    sources = {source.name: source for source in recipe.sources}
    shuffled = [name for name in sources if name.endswith("-shuffled")]
    assert shuffled
    for name, source in sources.items():
        if name not in shuffled:
            assert source.damage is None
            continue
        original = sources[name.removesuffix("-shuffled")]
        assert source.damage is not None
        assert source.damage.shuffle_words == 1
        for field in ("kind", "paths", "include", "exclude", "sample", "rules", "seed"):
            assert getattr(source, field) == getattr(original, field)
