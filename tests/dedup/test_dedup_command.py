"""``python -m dedup``: answers, JSON and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.__main__ import main

BASE = " ".join(f"word{i}" for i in range(100))
NEAR = BASE.replace("word50 ", "changed ")
ROWS = [
    {"text": BASE, "n": 0},
    {"text": "a text of its own that nobody else in this file has", "n": 1},
    {"text": BASE, "n": 2},
    {"text": NEAR, "n": 3},
]


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in ROWS))
    return path


def test_help_names_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dedup", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("scurve", "pair", "run"):
        assert command in done.stdout


def test_scurve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scurve", "--bands", "20", "--rows", "13", "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    points = {point["jaccard"]: round(point["candidate"], 3) for point in answer["points"]}
    assert points[0.8] == 0.677
    assert main(["scurve"]) == 0
    assert "J = 0.80   0.9235" in capsys.readouterr().out


def test_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right, short = (tmp_path / name for name in ("left", "right", "short"))
    left.write_text(BASE)
    right.write_text(NEAR)
    short.write_text("too short")
    assert main(["pair", str(left), str(right), "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert answer["shingles"] == [96, 96]
    assert answer["shared_shingles"] == 91
    assert answer["jaccard"] == 91 / 101
    assert answer["near_duplicates"] is True
    assert answer["bands_shared"]
    assert main(["pair", str(left), str(right), "--threshold", "0.95"]) == 0
    assert "kept apart at threshold 19/20" in capsys.readouterr().out
    assert main(["pair", str(left), str(short)]) == 0
    assert "fewer than 5 words" in capsys.readouterr().out


def test_run_on_json_lines(jsonl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = jsonl.with_name("kept.jsonl")
    assert main(["run", str(jsonl), "--out", str(kept), "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["kept"]) == (4, 2)
    assert (answer["exact_duplicates"], answer["near_duplicates"]) == (1, 1)
    assert [(row["row"], row["survivor"]) for row in answer["removed"]] == [(2, 0), (3, 0)]
    assert [orjson.loads(line) for line in kept.read_bytes().splitlines()] == ROWS[:2]
    assert main(["run", str(kept)]) == 0
    assert "2 rows: 2 kept" in capsys.readouterr().out


def test_run_on_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, kept = tmp_path / "rows.parquet", tmp_path / "kept.parquet"
    table = pa.table({"body": [row["text"] for row in ROWS], "n": [0, 1, 2, 3]})
    pq.write_table(table, path)
    assert main(["run", str(path), "--text", "body", "--out", str(kept), "--show", "1"]) == 0
    out = capsys.readouterr().out
    assert "row 2: equal to row 0" in out
    assert "and 1 more" in out
    assert pq.read_table(kept).column("n").to_pylist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "absent.jsonl"], "absent.jsonl: found no such file"),
        (["run", "{rows}", "--out", "{rows}"], "found the input itself"),
        (["run", "{rows}", "--out", "kept.csv"], "found suffix '.csv'"),
        (["pair", "absent", "absent"], "absent: No such file"),
    ],
)
def test_what_cannot_be_asked_exits_2(
    jsonl: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    before = jsonl.read_bytes()
    assert main([argument.format(rows=jsonl) for argument in arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert jsonl.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x.jsonl", "--threshold", "1.5"],
        ["scurve", "--bands", "0"],
        ["scurve", "--rows", "x"],
        ["run", "x.jsonl", "--seed", "-1"],
        ["nothing"],
    ],
)
def test_wrong_arguments_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"text": "a"}\n{"text": ', "line 2: found no JSON"),
        (b'{"text": "a"}\n{"text": 3}', "line 2: found no text in 'text'"),
        (b"[]", "line 1: found no text"),
    ],
)
def test_a_bad_line_exits_1_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, complaint: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    assert main(["run", str(path)]) == 1
    assert complaint in capsys.readouterr().err


def test_an_unknown_column_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"body": ["a"]}), path)
    assert main(["run", str(path)]) == 2
    assert "found no column 'text', expected one of ['body']" in capsys.readouterr().err
