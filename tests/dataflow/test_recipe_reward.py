"""What `check` says of `reward` and `tiers` that cannot be: the file, the place and what to do."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow.recipe import Recipe, RecipeError, load_recipe, lock
from quality.reward.fasttext_student import fit_fasttext
from quality.reward.scores_file import SCHEMA, TABLE
from quality.reward.student.scoring import SHIPPED
from tests.quality.reward.made import corpus

HEAD = """\
name: small
sources: [{name: a, paths: [a.txt], rules: prose}]
rules:
  prose: [{signal: text.words, min: 5}]
tokenizer: {train: {}}
"""


SCORED = "reward: {student: default}\n"


def _load(folder: Path, more: str, head: str = HEAD) -> Recipe:
    (folder / "recipe.yaml").write_text(head + more)
    return load_recipe(folder / "recipe.yaml")


def _problem(folder: Path, more: str, head: str = HEAD) -> str:
    with pytest.raises(RecipeError) as caught:
        _load(folder, more, head)
    return str(caught.value)


def _scores(**changed: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "content_id": [bytes([i]) * 16 for i in range(4)],
        "reward.depth": [0.0, 1.5, 5.0, None],
        "reward.helpfulness": [0.015625, 2.0, 3.0, None],
        "reward.coherence": [1.0, 2.0, 3.0, None],
        "reward.category": ["news", "health", "news", None],
        **changed,
    }
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in columns})


def _write(path: Path, table: pa.Table, **metadata: str) -> None:
    named = {"leyden.table": TABLE.decode(), "leyden.scorer": "somebody", **metadata}
    schema = pa.schema(
        [table.schema.field(n).with_nullable(n != "content_id") for n in table.schema.names]
    )
    pq.write_table(table.cast(schema).replace_schema_metadata(named), path)


def test_what_is_meant_loads_and_is_locked(tmp_path: Path) -> None:
    _write(tmp_path / "scores.parquet", _scores())
    (tmp_path / "student.zip").write_bytes(SHIPPED.read_bytes())
    for reward in ("student: default", "student: student.zip", "scores: scores.parquet"):
        recipe = _load(tmp_path, f"reward: {{{reward}}}\ntiers: {{}}\n")
        assert recipe.tiers is not None
        assert recipe.tiers.by == [{"reward.depth": 1, "reward.helpfulness": 1}]
        (tmp_path / "locked.yaml").write_text(lock(recipe, {}))
        assert load_recipe(tmp_path / "locked.yaml") == recipe
    assert "reward" not in lock(_load(tmp_path, ""), {})


def test_tiers_take_signals_of_points_wherever_they_are_measured(tmp_path: Path) -> None:
    recipe = _load(
        tmp_path,
        "image_reward: {}\nreward: {student: default}\n"
        "tiers: {by: [{image_reward.score: 2}, {reward.depth: 1, reward.coherence: 3}]}\n",
    )
    assert recipe.tiers is not None
    assert [list(way) for way in recipe.tiers.by] == [
        ["image_reward.score"], ["reward.depth", "reward.coherence"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("reward: {}\n", "6:9: reward: found neither student nor scores, expected exactly one"),
        ("reward: {student: default, scores: x}\n", "6:9: reward: found both student and scores"),
        ("reward: {student: defalt}\n", "reward.student: found .*defalt', which is not there.*"
         "quality distill.* did you mean 'default'"),
        ("reward: {scores: none.parquet}\n", "6:18: reward.scores: found .*which is not there, "
         "expected a file of `python -m quality score"),
        ("reward: {scores: 's3://b/x'}\n", "expected a local file"),
        ("reward: {student: default, guard: {loss: 0}}\n", "reward.guard.loss: found 0, expected a "
         "value above 0"),
        ("reward: {student: default, guard: {action: halt}}\n",
         "reward.guard.action: found 'halt'"),
        ("tiers: {}\n", "6:8: tiers: found reward.depth, expected it only where the recipe has "
         "`reward`"),
        ("tiers: {by: {image_reward.score: 1}}\n", "only where the recipe has `image_reward`"),
        (SCORED + "tiers: {by: {reward.dept: 1}}\n", "7:14: .*unknown signal "
         "'reward.dept', expected one of reward.depth, .*did you mean 'reward.depth'"),
        (SCORED + "tiers: {by: {text.words: 1}}\n", "found the signal "
         "'text.words', expected one of reward.depth"),
        (SCORED + "tiers: {by: {reward.category: 1}}\n", "found the signal "
         "'reward.category'"),
        (SCORED + "tiers: {by: {reward.depth: 0}}\n", "found 0, expected a value "
         "of at least 1"),
        (SCORED + "tiers: {by: {reward.depth: 0.5}}\n", "expected a whole number"),
        (SCORED + "tiers: {by: [{}]}\n", r"tiers.by\[0\]: found no signal"),
        (SCORED + "tiers: {quantiles: {low: 0.3, high: 0.9}}\n",
         "7:20: tiers.quantiles: found 0.9 as the highest, expected a tier that goes up to 1"),
        (SCORED + "tiers: {quantiles: {a: 0.3, b: 0.3, c: 1}}\n",
         "7:32: tiers.quantiles.b: found 0.3, as a has, expected a share of its own"),
        (SCORED + "tiers: {quantiles: {a: 1.5}}\n", "expected a value of at most 1"),
        (SCORED + "tiers: {quantiles: {unscored: 1}}\n", "quantiles.unscored: "
         "found unscored, expected another name"),
        (SCORED + "tiers: {quantile: {a: 1}}\n", "did you mean 'quantiles'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_with_its_place(tmp_path: Path, more: str, told: str) -> None:
    assert re.search(told, _problem(tmp_path, more))


@pytest.mark.parametrize(
    ("head", "at"),
    [
        (HEAD.replace("text.words, min: 5", "reward.depth, min: 2"), "rules.prose[0].signal"),
        (
            HEAD.replace("min: 5", "min: 5, when: {reward.category: [news]}"),
            "rules.prose[0].when['reward.category']",
        ),
        (HEAD + "dedup: {survivor: [reward.depth desc]}\n", "dedup.survivor[0]"),
    ],
)
def test_scores_are_named_only_where_there_are_any(tmp_path: Path, head: str, at: str) -> None:
    told = _problem(tmp_path, "", head)
    assert f"{at}: found reward." in told
    assert "expected it only where the recipe has `reward`" in told
    assert _load(tmp_path, "reward: {student: default}\n", head).reward is not None


def _write_text(path: Path) -> None:
    path.write_text("{}")


def _write_half(path: Path) -> None:
    _write(path, _scores())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


_BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no parquet": (_write_text, "no Parquet file that can be read"),
    "cut": (_write_half, "no Parquet file that can be read"),
    "no scorer": (
        lambda p: _write(p, _scores(), **{"leyden.scorer": ""}),
        "no scores with their scorer named",
    ),
    "another table": (
        lambda p: _write(p, _scores(), **{"leyden.table": "image_reward/scores"}),
        "no scores with their scorer named",
    ),
    "a column less": (
        lambda p: _write(p, _scores().drop_columns(["reward.coherence"])),
        "the columns, content_id: fixed_size_binary[16] not null, reward.depth: float, ",
    ),
    "unsorted": (
        lambda p: _write(p, _scores().take(pa.array([1, 0, 2, 3]))),
        "row 1: found a content_id that is not above",
    ),
    "twice": (
        lambda p: _write(p, _scores().take(pa.array([0, 1, 1, 2]))),
        "row 2: found a content_id that is not above",
    ),
    "off the grid": (
        lambda p: _write(p, _scores(**{"reward.depth": [0.0, 0.1, 1.0, None]})),
        "row 1: reward.depth: found 0.1, expected 0 to 5 in steps of 1/64",
    ),
    "out of range": (
        lambda p: _write(p, _scores(**{"reward.depth": [0.0, 1.0, 5.015625, None]})),
        "row 2: reward.depth: found 5.01562",
    ),
    "infinite": (
        lambda p: _write(p, _scores(**{"reward.coherence": [np.inf, 1.0, 5.0, None]})),
        "row 0: reward.coherence: found inf",
    ),
    "another category": (
        lambda p: _write(p, _scores(**{"reward.category": ["news", "poetry", None, None]})),
        "reward.category: found 'poetry', expected one of",
    ),
}


@pytest.mark.parametrize("broken", _BROKEN)
def test_a_file_of_scores_of_another_form_is_an_error_of_the_recipe(
    tmp_path: Path, broken: str
) -> None:
    write, told = _BROKEN[broken]
    write(tmp_path / "scores.parquet")
    found = _problem(tmp_path, "reward: {scores: scores.parquet}\n")
    assert "recipe.yaml:6:18: reward.scores: found scores.parquet: " in found
    assert told in found


def test_a_student_of_another_kind_is_taken_by_its_scores(tmp_path: Path) -> None:
    fit_fasttext(*corpus(60), tmp_path / "student")
    found = _problem(tmp_path, "reward: {student: student}\n")
    assert "reward.student: found student: a fasttext student, expected a linear one" in found
    assert "quality score RUN --student student --out FILE" in found


@pytest.mark.parametrize("broken", ["cut", "text", "another format"])
def test_a_student_that_is_none_is_an_error_of_the_recipe(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "student.zip"
    data = SHIPPED.read_bytes()
    if broken == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif broken == "text":
        path.write_text("a student")
    else:
        with zipfile.ZipFile(SHIPPED) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "student.json":
                    content = content.replace(b'"format": ', b'"format": 9')
                new.writestr(name, content)
    found = _problem(tmp_path, "reward: {student: student.zip}\n")
    assert "recipe.yaml:6:19: reward.student: found student.zip: " in found
