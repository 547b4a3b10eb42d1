"""`python -m quality`: lists, scores, JSON and exit codes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from quality.__main__ import main
from quality.dialects import DIALECTS
from quality.score import score
from quality.signals import SIGNALS, Producer, schema

ENGLISH = "It is a truth that all of the people who live with books have to be happy. " * 8


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_signals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signals", "--json"]) == 0
    listed = json.loads(lines(capsys)[0])
    assert [signal["name"] for signal in listed] == list(SIGNALS)
    assert main(["signals", "gopher."]) == 0
    assert any("gopher.stop_words" in line for line in lines(capsys))
    assert main(["signals", "nothing."]) == 2


def test_dialects(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dialects", "--json"]) == 0
    listed = json.loads(lines(capsys)[0])
    assert [dialect["name"] for dialect in listed] == list(DIALECTS)
    assert all(dialect["source"] and dialect["rules"] for dialect in listed)
    assert main(["dialects", "gopher.quality"]) == 0
    shown = "\n".join(lines(capsys))
    assert "50 <= gopher.words <= 100000" in shown
    assert "Rae et al." in shown


def test_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in ([], ["nope"], ["dialects", "nope"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert main(["score", str(tmp_path / "none.txt")]) == 2
    assert "none.txt" in capsys.readouterr().err


def test_score_a_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_text(ENGLISH, encoding="utf-8")
    arguments = ["score", str(path), "--dialect", "gopher.quality", "--dialect", "mc4.document"]
    assert main([*arguments, "--json"]) == 0
    (line,) = lines(capsys)
    row = json.loads(line)
    assert row["text.bytes"] == len(ENGLISH)
    assert row["lang.label"] == "en"
    assert row["dialect.gopher.quality"] == {"kept": True}
    assert row["dialect.mc4.document"] == {
        "kept": False,
        "rule": "mc4.long_lines",
        "value": 1.0,
        "threshold": 3.0,
    }
    assert main(arguments) == 0
    assert any("dropped by mc4.long_lines: 1 against 3" in line for line in lines(capsys))


def test_score_jsonl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [{"body": ENGLISH}, {"body": ""}, {"body": "人人生而自由"}]
    text = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    path = tmp_path / "pages.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert main(["score", str(path), "--field", "body", "--json"]) == 0
    scored = [json.loads(line) for line in lines(capsys)]
    assert [row["text.chars"] for row in scored] == [len(row["body"]) for row in rows]
    assert main(["score", str(path)]) == 1
    assert "pages.jsonl.gz:1: found no text under 'text'" in capsys.readouterr().err


def test_score_bad_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n{"text"\n', encoding="utf-8")
    assert main(["score", str(path)]) == 1
    assert "x.jsonl:2" in capsys.readouterr().err
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xff")
    assert main(["score", str(path)]) == 1


def test_score_has_the_declared_columns() -> None:
    table = score([ENGLISH, ""])
    producers: tuple[Producer, ...] = ("scan", "language", "reward")
    assert table.schema.names == [name for p in producers for name in schema(p).names]
    assert table.num_rows == 2
    assert score([]).num_rows == 0
