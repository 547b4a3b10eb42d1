"""A shard's documents come in shard order, whatever the windows and wherever they came from."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dataflow import windows
from dataflow.shards import shard_order
from dataflow.windows import windows_in_order


def _table(count: int) -> pa.Table:
    ids = np.random.default_rng(5).integers(0, 256, (count, 16), dtype=np.uint8)
    return pa.table(
        {
            "doc_id": pa.array([row.tobytes() for row in ids], pa.binary(16)),
            "text": pa.array([b"x" * (i % 90) for i in range(count)], pa.large_binary()),
        }
    )


@pytest.mark.parametrize("window_bytes", [10, 1000, 10**9])
@pytest.mark.parametrize("cuts", [[0, 500], [0, 1, 170, 170, 499, 500]])
def test_windows_joined_are_the_shard_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window_bytes: int, cuts: list[int]
) -> None:
    monkeypatch.setattr(windows, "WINDOW_BYTES", window_bytes)
    table = _table(500)
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
    bytes_ = table["text"].nbytes
    found = list(windows_in_order(parts, 7, bytes_, tmp_path))
    expected = table.take(pa.array(shard_order(table["doc_id"], 7)))
    assert pa.concat_tables(found).equals(expected)
    assert (len(found) == 1) == (window_bytes > bytes_)
    if window_bytes == 1000:
        assert max(part["text"].nbytes for part in found) < 10 * window_bytes
    assert not list(tmp_path.iterdir())


def test_a_shard_without_documents_has_no_window(tmp_path: Path) -> None:
    assert list(windows_in_order([], 0, 0, tmp_path)) == []
    assert list(windows_in_order([_table(3).slice(0, 0)], 0, 10, tmp_path)) == []
