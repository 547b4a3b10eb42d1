"""A shard that is cut, damaged, foreign or hostile is an error that says where."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.shards import (
    ShardError,
    read_content_shard,
    read_token_shard,
    write_content_shard,
)
from dataflow.shards.npy import from_npy, to_npy
from dataflow.shards.tar import BLOCK, MAX_SIZE, TarWriter, header, read_members


def _shard() -> bytes:
    sink = io.BytesIO()
    rows: list[tuple[bytes, bytes, dict[str, str]]] = [
        (bytes([i]) * 16, b"text %d " % i * 50, {}) for i in range(6)
    ]
    write_content_shard(sink, rows, "train-000000", sample_bytes=900)
    return sink.getvalue()


SHARD = _shard()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(SHARD) - 1))
def test_a_cut_shard_is_an_error(size: int) -> None:
    with pytest.raises(ShardError, match=r"a\.tar: truncated: ends at byte \d+, expected"):
        list(read_content_shard(io.BytesIO(SHARD[:size]), "a.tar"))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_damaged_header_is_an_error(at: int, change: int) -> None:
    damaged = bytearray(SHARD)
    damaged[at] ^= change
    with pytest.raises(ShardError, match=r"a\.tar: byte 0: "):
        list(read_content_shard(io.BytesIO(damaged), "a.tar"))


def test_bytes_after_the_end_are_an_error() -> None:
    list(read_members(io.BytesIO(SHARD + bytes(9000)), "a.tar"))
    with pytest.raises(ShardError, match="bytes after the end of the archive"):
        list(read_members(io.BytesIO(SHARD + bytes(1000) + b"x"), "a.tar"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil.json", tarfile.REGTYPE),
        ("/etc/evil.json", tarfile.REGTYPE),
        ("a/b.json", tarfile.REGTYPE),
        ("..json", tarfile.REGTYPE),
        ("a b.json", tarfile.REGTYPE),
        ("-rf.json", tarfile.REGTYPE),
        ("a.json", tarfile.SYMTYPE),
        ("a.json", tarfile.LNKTYPE),
        ("a.json", tarfile.DIRTYPE),
        ("a.json", tarfile.FIFOTYPE),
    ],
)
def test_a_hostile_member_is_an_error(name: str, kind: bytes) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = "../../secret"
        tar.addfile(member)
    with pytest.raises(ShardError, match=r"byte 0: found (member name|a member of type)"):
        list(read_members(io.BytesIO(sink.getvalue()), "a.tar"))


def test_gnu_and_pax_archives_are_foreign() -> None:
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=kind) as tar:
            tar.addfile(tarfile.TarInfo("n" * 150))
        with pytest.raises(ShardError, match="found"):
            list(read_members(io.BytesIO(sink.getvalue()), "a.tar"))


def _tar(**members: bytes) -> io.BytesIO:
    sink = io.BytesIO()
    tar = TarWriter(sink)
    for name, data in sorted(members.items()):
        tar.add(name.replace("__", "."), data)
    tar.close()
    return io.BytesIO(sink.getvalue())


ID = b"00" * 16


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"k__txt": b""}, "found k.txt and the end, expected KEY.json and KEY.txt"),
        ({"k__json": b"{}", "l__txt": b""}, "found k.json and l.txt"),
        ({"k__json": b"{}", "k__txt": b""}, "not the JSON of a content sample"),
        ({"k__json": b"[", "k__txt": b""}, "not the JSON of a content sample"),
    ],
)
def test_a_foreign_sample_is_an_error(members: dict[str, bytes], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        list(read_content_shard(_tar(**members), "a.tar"))


@pytest.mark.parametrize(
    ("ids", "start", "size", "text"),
    [
        ([ID, ID], [0, 2], [2, 2], b"abcde"),
        ([ID, ID], [0, 3], [2, 2], b"abcde"),
        ([ID, ID], [0, 5], [5, -1], b"abcd"),
        ([ID], [1], [3], b"abcd"),
        ([ID], [0, 1], [1, 1], b"ab"),
        ([b"00"], [0], [2], b"ab"),
    ],
)
def test_documents_must_cover_the_text(
    ids: list[bytes], start: list[int], size: list[int], text: bytes
) -> None:
    n = len(ids)
    names = b'["' + b'","'.join([b"s"] * n) + b'"]'
    found = b'{"documents":{"id":["%s"],"start":%s,"bytes":%s,"source":%s' % (
        b'","'.join(ids), str(start).encode(), str(size).encode(), names
    )  # fmt: skip
    found += b"".join(b',"%s":%s' % (key, names) for key in (b"uri", b"license", b"lang")) + b"}}"
    with pytest.raises(ShardError, match=r"k\.json: its (documents do not cover|columns differ)"):
        list(read_content_shard(_tar(k__json=found, k__txt=text)))


def _npy(array: Any) -> bytes:
    return b"".join(map(bytes, to_npy(np.asarray(array))))


IDS = np.arange(5, dtype=np.uint16)
OFFSETS = np.array([0, 2, 5], dtype=np.int64)
SPANS = np.array([[1, 0, 3]], dtype=np.int64)


def _token_tar(ids: Any = IDS, offsets: Any = OFFSETS, spans: Any = SPANS) -> io.BytesIO:
    return _tar(k__ids__npy=_npy(ids), k__offsets__npy=_npy(offsets), k__spans__npy=_npy(spans))


def test_loss_spans_come_back() -> None:
    (sample,) = read_token_shard(_token_tar())
    assert sample.spans.tolist() == [[1, 0, 3]]
    assert sample.document(1).tolist() == [2, 3, 4]
    assert len(sample) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": IDS.astype(np.int32)}, "ids are int32"),
        ({"offsets": OFFSETS[:-1]}, "do not cut its 5 ids"),
        ({"offsets": np.array([0, 3, 2, 5])}, "do not cut"),
        ({"offsets": OFFSETS.astype(np.int32)}, "offsets are int32"),
        ({"spans": np.zeros((2, 2), np.int64)}, r"spans are int64 of shape \(2, 2\)"),
        ({"spans": np.array([[2, 0, 1]])}, "outside its document"),
        ({"spans": np.array([[0, 0, 3]])}, "outside its document"),
        ({"spans": np.array([[0, 1, 1]])}, "outside its document"),
    ],
)
def test_a_token_sample_that_does_not_add_up_is_an_error(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        list(read_token_shard(_token_tar(**change), "a.tar"))


def test_missing_token_members_are_an_error() -> None:
    with pytest.raises(ShardError, match=r"found members \['k.ids.npy', 'k.offsets.npy'\]"):
        list(read_token_shard(_tar(k__ids__npy=_npy(IDS), k__offsets__npy=_npy(OFFSETS))))


@pytest.mark.parametrize(
    "array",
    [IDS, OFFSETS, np.zeros((0, 3), np.int64), np.arange(70_000, dtype=np.uint32), SPANS],
)
def test_arrays_are_numpys(array: Any) -> None:
    data = _npy(array)
    found = np.load(io.BytesIO(data), allow_pickle=False)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    ours, start = from_npy(data, "x")
    assert np.array_equal(ours, array)
    assert start == 128
    with pytest.raises(ShardError, match="not a sound"):
        from_npy(data + b"x", "x")
    with pytest.raises(ShardError, match="not a sound"):
        from_npy(data[: min(len(data) - 1, 100)], "x")


def test_pickles_are_never_read() -> None:
    sink = io.BytesIO()
    np.save(sink, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ShardError, match="not a sound"):
        from_npy(sink.getvalue(), "x")


def test_the_writer_refuses_what_it_could_not_read_back() -> None:
    tar = TarWriter(io.BytesIO())
    tar.add("b.txt", b"")
    with pytest.raises(ShardError, match=r"member a\.txt after b\.txt"):
        tar.add("a.txt", b"")
    with pytest.raises(ShardError, match="at most"):
        header("a.txt", MAX_SIZE + 1)
    assert len(header("a.txt", MAX_SIZE)) == BLOCK
