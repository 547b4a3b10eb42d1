"""Files of scores: what is written is read, and what is none is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vl_data.reward.scores_file import (
    SCHEMA,
    ScoresError,
    in_steps,
    read_origin,
    read_scores,
    tagged,
    write_scores,
)


def rows(*pairs: tuple[int, float | None, float | None]) -> pa.Table:
    names = [n.to_bytes(16, "big") for n, _, _ in pairs]
    columns = [names, [gain for _, gain, _ in pairs], [unseen for _, _, unseen in pairs]]
    return pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "scores.parquet"
    table = rows((7 << 120, 0.5, None), (3, -1 / 1024, 2.0), (7 << 120, 9.0, 9.0), (0, None, None))
    write_scores(path, "who", "root", table)
    assert [file.name for file in path.parent.iterdir()] == ["scores.parquet"]
    found = read_scores(path)
    assert found.scorer == "who"
    assert read_origin(path) == ("who", "root")
    assert found.gain.tolist() == [0, -1, 512]
    assert found.known.tolist() == [False, True, True]
    assert found.gain_unseen.tolist() == [0, 2048, 0]
    asked = np.frombuffer(b"".join(n.to_bytes(16, "big") for n in (3, 4, 7 << 120, 0)), "V16")
    place, there = found.places(asked)
    assert there.tolist() == [True, False, True, True]
    assert place[there].tolist() == [1, 2, 0]


def test_a_file_of_no_pair(tmp_path: Path) -> None:
    write_scores(tmp_path / "none", "who", "root", rows())
    found = read_scores(tmp_path / "none")
    place, there = found.places(np.frombuffer(b"x" * 32, "V16"))
    assert not there.any()
    assert len(place) == 2


def test_gains_lie_on_the_grid() -> None:
    assert in_steps(0.5004) == 0.5
    assert in_steps(0.5006) == 513 / 1024
    assert in_steps(-1e9) == -64
    assert in_steps(1e9) == 64


def _write(path: Path, rows: pa.Table, metadata: dict[str, str]) -> None:
    known = {k.decode(): v.decode() for k, v in (tagged("who", "root").metadata or {}).items()}
    told = {**known, **{f"leyden.{name}": value for name, value in metadata.items()}}
    pq.write_table(rows.replace_schema_metadata(told), path)


@pytest.mark.parametrize(
    ("table", "metadata", "said"),
    [
        (rows(), {"table": "reward/scores"}, "found table 'reward/scores', expected"),
        (rows(), {"version": "0"}, "found version '0' of image_reward/scores, expected 1"),
        (rows(), {"scorer": ""}, "found no scorer"),
        (rows((2, 0, 0), (1, 0, 0)), {}, "in row 1 behind"),
        (rows((2, 0, 0), (2, 0, 0)), {}, "expected each pair once and ascending"),
        (rows((1, 0.3, 0)), {}, "found gain 0.3 in row 0, expected a multiple of 1/1024"),
        (rows((1, 0, 65)), {}, "found gain_unseen 65 in row 0, expected a multiple"),
        (rows((1, float("nan"), 0)), {}, "found gain nan"),
        (rows().drop_columns(["gain"]), {}, "expected pair_id fixed_size_binary[16] (never null)"),
    ],
)
def test_what_is_no_file_of_scores_is_refused(
    tmp_path: Path, table: pa.Table, metadata: dict[str, str], said: str
) -> None:
    path = tmp_path / "scores.parquet"
    _write(path, table, metadata)
    with pytest.raises(ScoresError) as raised:
        read_scores(path)
    assert said in str(raised.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("scores")
    for name in ("text", "absent"):
        with pytest.raises(ScoresError, match="found no Parquet file to read"):
            read_scores(tmp_path / name)
