"""``metrics.jsonl``: appended, cut at the checkpoint, never half a line."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.logs import REQUIRED, MetricsError, MetricsFile, read_metrics


def record(step: int, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "tokens": 100 * step,
        "loss": 1 / step,
        "grad_norm": 1.0,
        "lr": 1e-3,
        "tokens_per_second": 50.0,
        "mfu": None,
        "dropped_tokens": 0,
        **more,
    }


def written(path: Path, last: int, done: int = 0) -> None:
    with MetricsFile(path, done) as file:
        for step in range(file.step + 1, last + 1):
            file.write(record(step))


def numbers(path: Path) -> list[int]:
    return [line["step"] for line in read_metrics(path)]


def test_a_line_has_the_required_fields_first(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as file:
        more = record(1, router={"load": np.array([1, 3])}, seconds=np.float32(0.5))
        line = file.write(dict(reversed(more.items())))
        assert path.read_bytes() == line + b"\n"  # flushed while open
    found = json.loads(line)
    assert tuple(found)[: len(REQUIRED)] == REQUIRED
    assert found["router"] == {"load": [1, 3]}
    assert found["seconds"] == 0.5
    assert found["mfu"] is None


@pytest.mark.parametrize("name", REQUIRED)
def test_a_record_that_lacks_a_field(tmp_path: Path, name: str) -> None:
    with MetricsFile(tmp_path / "m") as file:
        part = record(1)
        del part[name]
        with pytest.raises(MetricsError, match=f"a record without {name}, expected"):
            file.write(part)
    assert (tmp_path / "m").read_bytes() == b""


def test_what_is_no_finite_number_is_named(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "m") as file:
        norms = {"experts": [1.0, math.inf], "head": np.float32("nan")}
        file.write(record(1, loss=math.nan, grad_norms=norms))
        file.write(record(2))
    first, second = read_metrics(tmp_path / "m")
    assert first["loss"] is None
    assert first["grad_norms"] == {"experts": [1.0, None], "head": None}
    assert first["not_finite"] == {
        "loss": "nan",
        "grad_norms.experts[1]": "inf",
        "grad_norms.head": "nan",
    }
    assert "not_finite" not in second


def test_steps_rise(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "m") as file:
        file.write(record(3))
        with pytest.raises(MetricsError, match="found step 3 after step 3"):
            file.write(record(3))


def test_a_resumed_run_writes_what_one_without_a_break_does(tmp_path: Path) -> None:
    written(tmp_path / "whole", 9)
    written(tmp_path / "broken", 6)
    written(tmp_path / "broken", 9, done=4)
    assert (tmp_path / "broken").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("done", [0, 1, 4, 5, 99])
def test_lines_beyond_the_checkpoint_are_cut(tmp_path: Path, done: int) -> None:
    path = tmp_path / "m"
    written(path, 5)
    with MetricsFile(path, done) as file:
        assert file.step == min(done, 5)
    assert numbers(path) == list(range(1, min(done, 5) + 1))
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_torn_last_line_is_cut(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "m"
    written(path, 3)
    os.truncate(path, path.stat().st_size - lost)
    assert numbers(path) == [1, 2]
    written(path, 3, done=3)
    assert numbers(path) == [1, 2, 3]


def test_a_file_with_nothing_to_cut_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m"
    written(path, 3)
    before = path.stat().st_ino
    written(path, 4, done=3)
    assert path.stat().st_ino == before


def test_a_cut_that_fails_leaves_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    written(path, 5)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        MetricsFile(path, 2)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "bad", [b"{}\n", b"loss 3\n", b'{"step": 1}\n', b'{"step": "2"}\n', b"7\n"]
)
def test_a_line_of_something_else(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "m"
    written(path, 1)
    with path.open("ab") as file:
        file.write(bad + b'{"step": 3}\n')
    with pytest.raises(MetricsError, match=r"m:2: found .*expected JSON of a step after 1"):
        MetricsFile(path, 9)
