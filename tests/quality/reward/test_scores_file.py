"""Files of scores: what is written is read, and what is none is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quality.reward.scores_file import SCHEMA, ScoresError, read_scores, write_scores


def _table(ids: list[bytes], depth: list[float | None] | None = None) -> pa.Table:
    n = len(ids)
    scores = pa.array(depth or [1.5] * n, pa.float32())
    return pa.table(
        [pa.array(ids, pa.binary(16)), scores, scores, scores, pa.array(["news"] * n)],
        schema=SCHEMA,
    )


def test_scores_are_sorted_as_bytes_and_each_content_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scores.parquet"
    random = np.random.default_rng(0)
    ids = [random.bytes(16) for _ in range(300)]
    # Zero bytes at the end, which NumPy's strings ignore, and high bytes, which are above ASCII.
    ids += [bytes(16), b"\x01" + bytes(15), b"\xff" * 16, b"\x7f" * 15 + b"\x00", b"\x7f" * 16]
    rows = write_scores(path, [_table(ids[:200]), _table(ids[150:]), _table([])], "student abc")
    table, scorer = read_scores(path)
    assert rows == table.num_rows == len(ids)
    assert table["content_id"].to_pylist() == sorted(ids)
    assert scorer == "student abc"


def test_the_same_scores_are_the_same_bytes(tmp_path: Path) -> None:
    ids = [bytes([i]) * 16 for i in range(20)]
    write_scores(tmp_path / "a", [_table(ids)], "s")
    write_scores(tmp_path / "b", [_table(ids[::-1][:9]), _table(ids)], "s")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_documents_without_a_score_stay_without(tmp_path: Path) -> None:
    write_scores(tmp_path / "a", [_table([b"a" * 16, b"b" * 16], [None, 2.0])], "s")
    assert read_scores(tmp_path / "a")[0]["reward.depth"].to_pylist() == [None, 2.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace_schema_metadata(None), "found no scores with their scorer named"),
        (
            lambda t: t.replace_schema_metadata({"leyden.table": "reward/scores"}),
            "found no scores with their scorer named",
        ),
        (lambda t: t.drop_columns("reward.depth"), "found the columns"),
        (lambda t: t.take([1, 0]), "row 1: found a content_id that is not above"),
        (lambda t: t.take([0, 0]), "row 1: found a content_id that is not above"),
        (
            lambda t: _with(t, "reward.helpfulness", [1.0, 5.5]),
            r"row 1: reward.helpfulness: found 5.5, expected 0 to 5 in steps of 1/64",
        ),
        (lambda t: _with(t, "reward.depth", [0.3, 1.0]), "row 0: reward.depth: found 0.3"),
        (lambda t: _with(t, "reward.depth", [-1.0, 1.0]), "row 0: reward.depth: found -1"),
        (lambda t: _with(t, "reward.category", ["news", "praise"]), "found 'praise'"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "scores.parquet"
    write_scores(path, [_table([b"a" * 16, b"b" * 16])], "s")
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(ScoresError, match=said):
        read_scores(path)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_text("no")
    with pytest.raises(ScoresError, match="found no Parquet file that can be read"):
        read_scores(path)


def _with(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    field = table.schema.field(name)
    place = table.schema.get_field_index(name)
    return table.set_column(place, field, pa.array(values, field.type))
