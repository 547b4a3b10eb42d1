from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.sources import Fields, Limits, SourceSpec, plan, read
from dataflow.sources.compression import Expanded
from dataflow.sources.formats.lines import lines

Reader = Callable[..., Any]


def test_rows_become_records_with_their_fields(tmp_path: Path, read_all: Reader) -> None:
    row = {
        "body": {"text": "Hello there."},
        "licence": "CC0-1.0",
        "when": "2024-05-06T07:08:09Z",
        "key": 17,
        "source": {"url": "http://a.example/"},
        "kind": "letter",
    }
    (tmp_path / "a.jsonl").write_text("\n" + json.dumps(row) + "\n")
    fields = Fields(
        text="body.text",
        id="key",
        url="source.url",
        license="licence",
        captured_at="when",
        metadata=("kind", "absent"),
    )
    (record,) = read_all(fields=fields).records
    assert (record.uri, record.offset, record.text) == ("a.jsonl", 1, "Hello there.")
    assert (record.license, record.captured_at) == ("CC0-1.0", 1714979289)
    assert record.metadata == {"id": 17, "url": "http://a.example/", "kind": "letter"}
    assert len(record.digest) == 16


def test_every_line_is_one_outcome(tmp_path: Path, read_all: Reader) -> None:
    good = json.dumps({"text": "kept"}).encode()
    rows = [good, b"{broken", b'["a list"]', b'{"other": 1}', b'{"text": 3}', b'{"text": " "}']
    rows += [b'{"text": "\xff"}', b"", b"   ", good, b"[" * 200_000, b'{"text": "\\ud800"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    found = read_all()
    assert found.texts == ["kept", "kept"]
    reasons = [reason for _, _, reason in found.refused]
    assert reasons == [
        "bad-json",
        "bad-json",
        "missing-field",
        "missing-field",
        "no-text",
        "bad-json",
        "bad-json",
        "bad-json",
    ]
    assert len(found.all) == len([r for r in rows if r.strip()])


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1, max_size=30),
    partition_bytes=st.integers(1, 400),
    line_end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_records_do_not_depend_on_the_cut(
    tmp_path: Path, texts: list[str], partition_bytes: int, line_end: str, last: bool
) -> None:
    rows = [json.dumps({"text": t}, ensure_ascii=False) for t in texts]
    data = line_end.join(rows) + (line_end if last else "")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data.encode())
    spec = SourceSpec("s", paths=(str(path),))
    whole = [o for p in plan(spec, 1 << 30) for o in read(spec, p)]
    cut = plan(spec, partition_bytes)
    assert [o for p in cut for o in read(spec, p)] == whole
    assert sum(p.bytes for p in cut) == path.stat().st_size
    assert len(whole) == len(texts)


@given(data=st.binary(max_size=200), chunk=st.integers(1, 20), limit=st.integers(0, 30))
def test_lines_equal_split(data: bytes, chunk: int, limit: int) -> None:
    class Slow:
        at = 0

        def read(self, size: int) -> bytes:
            out = data[self.at : self.at + min(size, chunk)]
            self.at += len(out)
            return out

    pieces = data.split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    expected = [None if len(p) > limit else p for p in pieces]
    found = list(lines(Slow(), 0, limit))
    assert [line for _, line in found] == expected
    at = 0
    for piece, (offset, _) in zip(pieces, found, strict=True):
        assert offset == at
        at += len(piece) + 1


@pytest.mark.parametrize(
    "size", [200 << 20, pytest.param(1 << 30, marks=pytest.mark.long)], ids=["200MiB", "1GiB"]
)
def test_a_huge_line_is_passed_over_in_bounded_memory(
    tmp_path: Path, read_all: Reader, size: int
) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"text": "before"}\n')
        file.seek(size, 1)  # sparse: a line of NULs
        file.write(b'\n{"text": "after"}\n')
    found = read_all(limits=Limits(max_record_bytes=8 << 20), partition_bytes=1 << 40)
    assert found.texts == ["before", "after"]
    assert found.refused == [("a.jsonl", 19, "record-too-large")]


def test_truncated_gzip_keeps_whole_lines(tmp_path: Path, read_all: Reader) -> None:
    rows = [json.dumps({"text": f"line {i} {i * 7919 % 10007}"}) for i in range(5000)]
    data = gzip.compress("\n".join(rows).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(data[: len(data) // 2])
    found = read_all()
    count = len(found.records)
    assert 1000 < count < 4000
    assert found.texts == [json.loads(r)["text"] for r in rows[:count]]
    assert found.refused == [("a.jsonl.gz", len("\n".join(rows[:count]).encode()) + 1, "truncated")]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", ".xz", ".lz4"])
def test_compression_is_told_by_content(tmp_path: Path, read_all: Reader, suffix: str) -> None:
    import bz2
    import io
    import lzma

    from fastwarc.stream_io import Lz4Writer

    data = b'{"text": "one"}\n' * 3
    if suffix == ".lz4":
        sink = io.BytesIO()
        writer = Lz4Writer(sink)
        writer.write(data)
        writer.close()
        packed = sink.getvalue()
    else:
        packers: dict[str, Callable[[bytes], bytes]] = {
            "": lambda d: d,
            ".gz": lambda d: gzip.compress(d[:16]) + gzip.compress(d[16:]),
            ".zst": lambda d: zstandard.compress(d[:16]) + zstandard.compress(d[16:]),
            ".bz2": bz2.compress,
            ".xz": lzma.compress,
        }
        packed = packers[suffix](data)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed)
    (tmp_path / "misnamed.jsonl").write_bytes(packed)
    found = read_all()
    assert found.texts == ["one"] * 6
    assert [r.offset for r in found.records] == [0, 16, 32] * 2


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bz2", "xz"])
def test_damage_is_met_after_what_is_whole(tmp_path: Path, read_all: Reader, kind: str) -> None:
    import bz2
    import lzma

    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    good = pack[kind](b'{"text": "one"}\n')
    damaged = bytearray(pack[kind](b'{"text": "two"}\n' * 50))
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "a.jsonl").write_bytes(good + bytes(damaged))
    found = read_all()
    assert found.texts[:1] == ["one"]
    assert [r[2] for r in found.refused] in (["corrupt"], ["truncated"])


def test_a_bomb_is_stopped_by_a_count(tmp_path: Path, read_all: Reader) -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(b'{"text": "x"}\n' + bytes(1 << 28))
    (tmp_path / "bomb.jsonl.zst").write_bytes(bomb)
    limits = Limits(max_record_bytes=1 << 20, max_expansion=100)
    found = read_all(limits=limits)
    assert found.texts == ["x"]
    assert [r[2] for r in found.refused] == ["expansion-limit"]


def test_expansion_counts_members(tmp_path: Path) -> None:
    import io

    data = gzip.compress(b"a") + b"\0" * 100 + gzip.compress(b"b") + b"\0" * 10
    stream = Expanded(io.BytesIO(data), "gzip", Limits())
    out = b""
    while more := stream.read(1):
        out += more
    assert (out, stream.members, stream.bytes_out) == (b"ab", 2, 2)


def test_fifty_million_characters_are_kept(tmp_path: Path, read_all: Reader) -> None:
    text = "word " * 10_000_000
    (tmp_path / "a.jsonl").write_text('{"text": "' + text + '"}\n{"text": "small"}\n')
    found = read_all()
    assert [len(t) for t in found.texts] == [50_000_000, 5]
