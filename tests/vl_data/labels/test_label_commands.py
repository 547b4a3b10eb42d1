"""``python -m vl_data caption | tag``."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.quality.endpoint.misbehaving import says, serving, slow, status
from tests.vl_data.labels.answering import captions, tags
from tests.vl_data.made_images import encode, pixels
from vl_data.command import DONE, FAILED, WRONG_USAGE, main

WIDE = encode(pixels(64, 32), "png")


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(
    capsys: pytest.CaptureFixture[str], *words: str, code: int = DONE, json_too: bool = True
) -> dict[str, Any]:
    assert main([*words, *(["--json"] if json_too else [])]) == code
    out = capsys.readouterr().out
    return dict(json.loads(out)) if json_too else {"out": out}


def test_captions_of_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(WIDE)
    uri = "data:image/png;base64," + base64.b64encode(WIDE).decode()
    listed = lines(
        tmp_path / "list.jsonl",
        {"image": "pictures/a.png", "caption": "a boat", "id": "one"},
        {"image": uri, "caption": "a boat"},
        {"image": uri},
    )
    out = str(tmp_path / "out")
    with serving(captions()) as server:
        words = ["caption", "--endpoint", server.url, "--model", "toy"]
        words += ["--in", str(listed), "--out", out]
        said = call(capsys, *words)
        assert (said["ok"], said["rows"], said["asked"], said["kept"]) == (True, 2, 2, 1)
        assert pq.read_table(said["table"])["description"].to_pylist() == ["64 by 32"] * 2
        again = call(capsys, *words)
        assert len(server.requests) == 2
        plain = call(capsys, *words, json_too=False)["out"]
    assert (again["asked"], again["blake3"]) == (0, said["blake3"])
    assert said["blake3"] in plain


def test_tags_of_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"instruction": f"{t}: {i}", "answer": "x"} for i, t in enumerate("aab")]
    listed = lines(tmp_path / "list.jsonl", *rows)
    with serving(tags()) as server:
        words = ["tag", "--endpoint", server.url, "--model", "toy", "--in", str(listed)]
        said = call(capsys, *words, "--out", str(tmp_path / "out"))
        capped = call(
            capsys, *words, "--out", str(tmp_path / "capped"), "--max-tokens", "1", "--answers", "1"
        )
    assert said["top"] == {"a": 2, "b": 1}
    assert said["tail"]["singletons"] == 1
    assert said["without"] == {}
    assert capped["without"] == {"not-asked": 3}
    assert capped["tail"]["untagged"] == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "list.jsonl:2"),
        ("[]", "expected a JSON object"),
        ('{"image": "none.png"}', "list.jsonl:2: image: found none.png"),
        ('{"image": 5}', "image: found 5"),
        ('{"image": "data:image/png,xx"}', "expected data:TYPE;base64,DATA"),
        ('{"image": "a.png", "caption": 1}', "caption: found 1"),
        ('{"image": "a.png", "alt": "x"}', "found field alt"),
        ('{"image": "a.png", "id": "one", "caption": "other"}', "which line 1 gives"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    (tmp_path / "a.png").write_bytes(WIDE)
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"image": "a.png", "id": "one"}\n' + line + "\n")
    words = ["caption", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--in", str(listed)]
    found = call(capsys, *words, "--out", str(tmp_path / "out"), code=WRONG_USAGE)
    assert found["ok"] is False
    assert said in found["error"]


@pytest.mark.parametrize("row", [{"instruction": "a", "answer": " "}, {"answer": "a"}])
def test_a_pair_without_a_part_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", row)
    words = ["tag", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--in", str(listed)]
    found = call(capsys, *words, "--out", str(tmp_path), code=WRONG_USAGE)
    assert "list.jsonl:1" in found["error"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--concurrency", "0"], "concurrency"),
        (["--max-cost", "5"], "no price"),
        (["--key-variable", "LEYDEN_TEST_NO_SUCH_KEY"], "LEYDEN_TEST_NO_SUCH_KEY"),
        (["--image-side", "3"], "image side"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    (tmp_path / "a.png").write_bytes(WIDE)
    listed = lines(tmp_path / "list.jsonl", {"image": "a.png"})
    words = ["caption", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--in", str(listed)]
    found = call(capsys, *words, "--out", str(tmp_path / "out"), *more, code=WRONG_USAGE)
    assert said in found["error"]


def test_an_endpoint_that_takes_nothing_fails_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", {"instruction": "a", "answer": "b"})
    with serving(status(401)) as server:
        words = ["tag", "--endpoint", server.url, "--model", "m", "--in", str(listed)]
        found = call(capsys, *words, "--out", str(tmp_path / "out"), code=FAILED)
        assert "HTTP 401" in found["error"]
        server.usual = says('{"tag": "x"}')
        assert call(capsys, *words, "--out", str(tmp_path / "out"))["asked"] == 1


def test_an_interrupted_job_says_that_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"a: {i}", "answer": "x"} for i in range(30)]
    listed = lines(tmp_path / "list.jsonl", *rows)
    with serving(slow(0.03, tags())) as server:
        words = ["tag", "--endpoint", server.url, "--model", "m", "--in", str(listed)]
        words += ["--out", str(tmp_path / "out"), "--json"]
        command = [sys.executable, "-m", "vl_data", *words, "--concurrency", "1"]
        # A shell has what it runs in the background ignore the signal, and their children too.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        finally:
            signal.signal(signal.SIGINT, before)
        try:
            until = time.monotonic() + 30
            while len(server.requests) < 5:
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == FAILED
        assert "interrupted" in json.loads(out)["error"]
        said = call(capsys, *words[:-1])
    assert (said["rows"], said["without"]) == (30, {})
    assert said["kept"] >= 4
