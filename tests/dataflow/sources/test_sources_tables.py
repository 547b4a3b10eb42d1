from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow.sources import Fields, plan
from dataflow.sources.spec import SourceSpec

Reader = Callable[..., Any]
ROWS = 3000


def table(rows: int = ROWS) -> pa.Table:
    day = dt.datetime(2024, 5, 6, tzinfo=dt.UTC)
    return pa.table(
        {
            "text": [f"row {i} " + "word " * (i % 7) for i in range(rows)],
            "n": range(rows),
            "meta": [{"url": f"http://a.example/{i}", "tags": ["x"]} for i in range(rows)],
            "when": pa.array([day] * rows, pa.timestamp("ms", tz="UTC")),
            "raw": [b"\xff\x00"] * rows,
        }
    )


FIELDS = Fields(url="meta.url", captured_at="when", metadata=("*",))


def test_parquet_rows(tmp_path: Path, read_all: Reader) -> None:
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=100)
    found = read_all(fields=FIELDS)
    assert [r.offset for r in found.records] == list(range(ROWS))
    record = found.records[8]
    assert record.text == "row 8 word "
    assert record.captured_at == 1714953600
    assert record.metadata == {
        "url": "http://a.example/8",
        "n": 8,
        "meta": {"url": "http://a.example/8", "tags": ["x"]},
        "raw": "ff00",
    }


@pytest.mark.parametrize("partition_bytes", [1, 2000, 20_000, 1 << 30])
def test_parquet_does_not_depend_on_the_cut(
    tmp_path: Path, read_all: Reader, partition_bytes: int
) -> None:
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=100)
    whole = read_all(fields=FIELDS)
    cut = read_all(fields=FIELDS, partition_bytes=partition_bytes)
    assert cut.all == whole.all
    groups = ROWS // 100
    assert len(cut.partitions) == {1: groups, 1 << 30: 1}.get(partition_bytes, len(cut.partitions))


def test_a_corrupt_page_costs_its_row_group(tmp_path: Path, read_all: Reader) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        table(), path, row_group_size=1000, write_page_checksum=True, use_dictionary=False
    )
    group = pq.ParquetFile(path).metadata.row_group(1)
    start = group.column(0).data_page_offset + group.column(0).total_compressed_size // 2
    data = bytearray(path.read_bytes())
    data[start : start + 20] = bytes(b ^ 0xFF for b in data[start : start + 20])
    path.write_bytes(bytes(data))
    for partition_bytes in (1, 1 << 30):
        found = read_all(partition_bytes=partition_bytes)
        assert [(o, r) for _, o, r in found.refused] == [(1000, "corrupt")]
        assert [r.offset for r in found.records] == [*range(1000), *range(2000, 3000)]
        (detail,) = [o.detail for o in found.all if hasattr(o, "detail")]
        assert "rows 1000 to 1999" in detail


@pytest.mark.parametrize("damage", ["footer", "truncated", "not parquet", "empty"])
def test_parquet_without_a_footer(tmp_path: Path, read_all: Reader, damage: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(), path)
    data = path.read_bytes()
    size = 8 + int.from_bytes(data[-8:-4], "little")
    path.write_bytes(
        {
            "footer": data[:-size] + bytes(40) + data[40 - size :],
            "truncated": data[:-100],
            "not parquet": b"hello world, this is no table",
            "empty": b"",
        }[damage]
    )
    for partition_bytes in (10, 1 << 30):
        found = read_all(partition_bytes=partition_bytes)
        assert [r for _, _, r in found.refused] == ["empty" if damage == "empty" else "corrupt"]


def test_columns_and_rows_without_text(tmp_path: Path, read_all: Reader) -> None:
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["x", None, " "]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "c.parquet")
    found = read_all()
    assert found.texts == ["x"]
    assert found.refused == [
        ("a.parquet", 0, "missing-field"),
        ("b.parquet", 1, "missing-field"),
        ("b.parquet", 2, "no-text"),
        ("c.parquet", 0, "missing-field"),
        ("c.parquet", 1, "missing-field"),
    ]


def write_arrow(path: Path, data: pa.Table, stream: bool) -> None:
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with path.open("wb") as sink, make(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=500)


@pytest.mark.parametrize("stream", [False, True])
def test_arrow_rows(tmp_path: Path, read_all: Reader, stream: bool) -> None:
    data = table()
    pq.write_table(data, tmp_path / "a.parquet")
    parquet = read_all(fields=FIELDS)
    (tmp_path / "a.parquet").unlink()
    write_arrow(tmp_path / "a.arrow", data, stream)
    arrow = read_all(fields=FIELDS)
    assert arrow.texts == parquet.texts
    assert [r.metadata for r in arrow.records] == [r.metadata for r in parquet.records]


def test_arrow_that_is_cut_short(tmp_path: Path, read_all: Reader) -> None:
    path = tmp_path / "a.arrows"
    write_arrow(path, table(), stream=True)
    path.write_bytes(path.read_bytes()[:-60_000])
    found = read_all()
    count = len(found.records)
    assert count in (1500, 2000, 2500)
    assert found.refused == [("a.arrows", count, "corrupt")]


def test_strings_that_are_not_utf8(tmp_path: Path, read_all: Reader) -> None:
    offsets = pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in (0, 4, 6, 9)))
    texts = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"good\xff\xfeend"))
    write_arrow(tmp_path / "a.arrow", pa.table({"text": texts}), stream=False)
    found = read_all()
    assert found.texts == ["good", "end"]
    assert found.refused == [("a.arrow", 1, "encoding")]


def test_compressed_tables(tmp_path: Path, read_all: Reader) -> None:
    pq.write_table(table(10), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(gzip.compress(data))
    assert len(read_all(partition_bytes=1).records) == 10


def test_shares_add_up_to_the_columns(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=100)
    spec = SourceSpec("s", paths=(str(tmp_path),))
    partitions = plan(spec, 5000)
    size = (tmp_path / "a.parquet").stat().st_size
    assert 0.5 * size < sum(p.bytes for p in partitions) <= size
