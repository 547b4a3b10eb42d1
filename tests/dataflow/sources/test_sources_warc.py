from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.sources import Limits, SourceSpec, plan, read
from dataflow.sources.formats.frames import SHARED
from dataflow.sources.http import dechunk

Reader = Callable[..., Any]
WORDS = "A sentence of the page number {} that is long enough to be its main content. "


def page(i: int) -> bytes:
    text = WORDS.format(i) * 5
    return f"<html><body><article><p>{text}</p></article></body></html>".encode()


def http(body: bytes, headers: bytes = b"", status: bytes = b"200 OK") -> bytes:
    kind = b"" if b"ontent-Type" in headers else b"Content-Type: text/html\r\n"
    return b"HTTP/1.1 " + status + b"\r\n" + kind + headers + b"\r\n" + body


def record(i: int, block: bytes, kind: str = "response", extra: str = "") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{i:036d}>\r\n"
        f"WARC-Date: 2024-05-06T07:08:09Z\r\nWARC-Target-URI: http://a.example/{i}\r\n{extra}"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def numbers(found: Any) -> list[int]:
    return [int(t.split("number ")[1].split()[0]) for t in found.texts]


def test_records_carry_what_the_archive_says(tmp_path: Path, read_all: Reader) -> None:
    headers = b"X-Robots-Tag: noai, noimageai\r\nTDM-Reservation: 1\r\n"
    records = [
        record(0, b"software: x\r\n", "warcinfo"),
        record(1, http(page(1), headers)),
        record(2, b"GET / HTTP/1.1\r\n\r\n", "request"),
        record(3, http(page(3), status=b"404 Not Found")),
        record(4, http(b"\x89PNG", b"Content-Type: image/png\r\n")),
        record(5, http(b""), "revisit"),
        record(6, http(b"plain \xe9t\xe9", b"Content-Type: text/plain; charset=latin-1\r\n")),
        record(7, http(b"<html><body></body></html>")),
        record(8, b"no http here"),
    ]
    members = [gzip.compress(r) for r in records]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    starts = [sum(map(len, members[:i])) for i in range(len(members))]
    found = read_all()
    first, second = found.records
    assert first.uri == "a.warc.gz"
    assert first.offset == starts[1]
    assert first.captured_at == 1714979289
    assert first.rights == ("robots:noai", "robots:noimageai", "tdm:reservation")
    assert first.metadata == {
        "url": "http://a.example/1",
        "record_id": f"urn:uuid:{1:036d}",
    }
    assert (second.text, second.encoding) == ("plain été", "cp1252")
    assert [(o, r) for _, o, r in found.refused] == [
        (starts[3], "http-status"),
        (starts[4], "media-type"),
        (starts[5], "revisit"),
        (starts[7], "no-text"),
        (starts[8], "bad-http"),
    ]


@pytest.mark.parametrize("packing", ["plain", "members", "one member", "zstd", "lz4"])
def test_packing_does_not_change_what_is_read(
    tmp_path: Path, read_all: Reader, packing: str
) -> None:
    records = [record(i, http(page(i))) for i in range(20)]
    if packing == "plain":
        data = b"".join(records)
    elif packing == "members":
        data = b"".join(map(gzip.compress, records))
    elif packing == "one member":
        data = gzip.compress(b"".join(records))
    elif packing == "zstd":
        data = b"".join(map(zstandard.compress, records))
    else:
        from fastwarc.stream_io import Lz4Writer

        data = b""
        for r in records:
            sink = io.BytesIO()
            writer = Lz4Writer(sink)
            writer.write(r)
            writer.close()
            data += sink.getvalue()
    (tmp_path / "a.warc").write_bytes(data)
    found = read_all()
    assert numbers(found) == list(range(20))
    assert found.refused == []
    if packing == "one member":
        assert found.records[0].offset == 0
        assert found.records[1].offset == SHARED + 1


def test_codings_are_undone(tmp_path: Path, read_all: Reader) -> None:
    def chunked(body: bytes) -> bytes:
        return b"5\r\n" + body[:5] + b"\r\n%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\n\r\n"

    raw = zlib.compressobj(wbits=-15)
    blocks = [
        http(chunked(page(0)), b"Transfer-Encoding: chunked\r\n"),
        http(gzip.compress(page(1)), b"Content-Encoding: gzip\r\n"),
        http(zlib.compress(page(2)), b"Content-Encoding: deflate\r\n"),
        http(raw.compress(page(3)) + raw.flush(), b"Content-Encoding: deflate\r\n"),
        http(zstandard.compress(page(4)), b"Content-Encoding: zstd\r\n"),
        http(
            chunked(gzip.compress(page(5))),
            b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n",
        ),
        http(page(6), b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n"),
        http(gzip.compress(page(7))[:-20], b"Content-Encoding: gzip\r\n"),
        http(chunked(page(8))[:-50], b"Transfer-Encoding: chunked\r\n"),
        http(page(9), b"Content-Encoding: compress\r\n"),
    ]
    data = b"".join(record(i, b) for i, b in enumerate(blocks))
    cut = record(10, http(gzip.compress(page(10))[:-6], b"Content-Encoding: gzip\r\n"))
    cut = cut.replace(b"Content-Type: app", b"WARC-Truncated: length\r\nContent-Type: app")
    (tmp_path / "a.warc").write_bytes(data + cut)
    found = read_all()
    assert numbers(found) == [0, 1, 2, 3, 4, 5, 6, 10]
    assert found.records[-1].metadata["cut"] is True
    assert [r for _, _, r in found.refused] == ["truncated", "truncated", "corrupt"]


def test_a_body_that_expands_without_end(tmp_path: Path, read_all: Reader) -> None:
    bomb = http(gzip.compress(bytes(64 << 20)), b"Content-Encoding: gzip\r\n")
    big = http(b"x" * (2 << 20))
    (tmp_path / "a.warc").write_bytes(record(0, bomb) + record(1, big) + record(2, http(page(2))))
    found = read_all(limits=Limits(max_record_bytes=1 << 20))
    assert numbers(found) == [2]
    assert [r for _, _, r in found.refused] == ["record-too-large", "record-too-large"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.83, 0.999])
def test_a_truncated_tail_is_one_row(
    tmp_path: Path, read_all: Reader, packed: bool, keep: float
) -> None:
    records = [record(i, http(page(i))) for i in range(9)]
    stored = [gzip.compress(r) for r in records] if packed else records
    data = b"".join(stored)
    size = int(len(data) * keep)
    (tmp_path / "a.warc").write_bytes(data[:size])
    ends = [sum(map(len, stored[: i + 1])) for i in range(9)]
    whole = sum(e <= size for e in ends)
    found = read_all()
    if keep > 0.99:  # only the trailing bytes of the last record are missing: its text is whole
        assert numbers(found) in (list(range(9)), list(range(8)))
        return
    assert numbers(found) == list(range(whole))
    assert [(o, r) for _, o, r in found.refused] == [(([0, *ends])[whole], "truncated")]


@pytest.mark.parametrize("packed", [False, True])
def test_damage_in_the_middle_costs_one_record(
    tmp_path: Path, read_all: Reader, packed: bool
) -> None:
    records = [record(i, http(page(i))) for i in range(9)]
    stored = [gzip.compress(r) for r in records] if packed else records
    if packed:
        damaged = bytearray(stored[4])
        damaged[len(damaged) // 2] ^= 0xFF
        stored[4] = bytes(damaged)
    else:
        stored[4] = stored[4].replace(b"Content-Length: ", b"Content-Length: x")
    (tmp_path / "a.warc").write_bytes(b"".join(stored))
    found = read_all()
    assert numbers(found) == [0, 1, 2, 3, 5, 6, 7, 8]
    (refused,) = found.refused
    assert refused[1] == sum(map(len, stored[:4]))
    assert refused[2] == ("corrupt" if packed else "bad-archive-record")


def test_garbage_between_members(tmp_path: Path, read_all: Reader) -> None:
    members = [gzip.compress(record(i, http(page(i)))) for i in range(4)]
    (tmp_path / "a.warc.gz").write_bytes(
        members[0] + b"garbage" * 40 + members[1] + bytes(700) + members[2] + members[3]
    )
    found = read_all()
    assert numbers(found) == [0, 1, 2, 3]
    assert [(o, r) for _, o, r in found.refused] == [(len(members[0]), "corrupt")]


@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=6),
    cut=st.floats(0.3, 1),
    packed=st.booleans(),
)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_damage_raises_or_repeats(
    tmp_path: Path, flips: list[tuple[float, int]], cut: float, packed: bool
) -> None:
    records = [record(i, http(page(i))) for i in range(6)]
    data = bytearray(b"".join(gzip.compress(r) if packed else r for r in records))
    for place, mask in flips:
        data[int(place * (len(data) - 1))] ^= mask
    path = tmp_path / "a.warc"
    path.write_bytes(bytes(data[: int(len(data) * cut)]))
    spec = SourceSpec("s", paths=(str(path),))
    runs = [[o for p in plan(spec, 1 << 30) for o in read(spec, p)] for _ in range(2)]
    assert runs[0] == runs[1]
    places = [o.offset for o in runs[0]]
    assert len(set(places)) == len(places)
    assert len(runs[0]) >= 1


@pytest.mark.parametrize(
    "body", [b"", b"not chunked", b"5\r\nhello\r\n0\r\n\r\n", b"3\nabc\n0\n\n"]
)
def test_dechunk(body: bytes) -> None:
    expected = {b"5": b"hello", b"3": b"abc"}.get(body[:1], body)
    assert dechunk(body) == expected


def test_arc_and_warc_of_one_crawl_give_the_same_texts(
    read_all: Reader, shared_data: Callable[[str], Path]
) -> None:
    arc = read_all(paths=(str(shared_data("a_web_crawl/aut/example.arc.gz")),))
    warc = read_all(paths=(str(shared_data("a_web_crawl/aut/example.warc.gz")),))
    assert len(arc.records) == 132
    assert sorted(arc.texts) == sorted(warc.texts)
    assert sorted(r for _, _, r in arc.refused) == sorted(r for _, _, r in warc.refused)
    assert all(
        r.captured_at == w.captured_at for r, w in zip(arc.records, warc.records, strict=True)
    )
    assert {r.captured_at // 86400 for r in arc.records} == {13999}


def test_real_archives_give_every_record_once(
    read_all: Reader, shared_data: Callable[[str], Path]
) -> None:
    folder = shared_data("a_web_crawl")
    for path in sorted(folder.glob("*/*.warc*")):
        if "bad" in path.name or "trunc" in path.name or "clipped" in path.name:
            continue
        with path.open("rb") as file:
            kinds = WarcRecordType.response | WarcRecordType.resource
            kinds |= WarcRecordType.conversion | WarcRecordType.revisit
            expected = sum(1 for _ in ArchiveIterator(file, record_types=kinds, parse_http=False))
        assert len(read_all(paths=(str(path),)).all) == expected, path.name


def test_broken_real_archives_lose_nothing_silently(
    read_all: Reader, shared_data: Callable[[str], Path]
) -> None:
    folder = shared_data("a_web_crawl")
    reasons = {
        path: [r for _, _, r in read_all(paths=(str(folder / path),)).refused]
        for path in (
            "resiliparse/clipped.warc.gz",
            "warcio/example-trunc.warc",
            "warcio/example-bad.warc.gz.bad",
            "warcio/bad.arc",
            "aut/badexample.arc.gz",
        )
    }
    assert reasons["resiliparse/clipped.warc.gz"] == ["truncated"]
    assert reasons["warcio/example-trunc.warc"] == ["truncated", "bad-archive-record"]
    assert reasons["warcio/example-bad.warc.gz.bad"] == ["revisit", "http-status"]
    assert reasons["warcio/bad.arc"][0] == "bad-archive-record"
    assert reasons["aut/badexample.arc.gz"][-1] == "truncated"


def test_wet_and_warc_of_one_page(read_all: Reader, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("a_web_crawl/whirlwind")
    (warc,) = read_all(paths=(str(folder / "whirlwind.warc.gz"),)).records
    (wet,) = read_all(paths=(str(folder / "whirlwind.warc.wet.gz"),)).records
    assert (warc.media_type, wet.media_type) == ("text/html", "text/plain")
    assert warc.captured_at == wet.captured_at
    words = set(warc.text.split())
    assert len(words & set(wet.text.split())) > 0.9 * len(words)
