"""Shards: what is written is read back, by us, by stock webdataset and by a range read."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.shards import (
    ShardError,
    index_table,
    read_content_shard,
    read_token_shard,
    shard_name,
    text_at,
    tokens_at,
    write_content_shard,
    write_token_shard,
)
from dataflow.tables import INDEX
from dataflow.tokenizer import Tokenizer

PINNED = Path(__file__).parents[2] / "recipes" / "tokenizers" / "quickstart-32k"
_TOKENIZER = Tokenizer.load(PINNED)

Row = tuple[bytes, bytes, dict[str, Any]]


def _rows(texts: list[str]) -> list[Row]:
    return [
        (
            hashlib.md5(f"{i} {text}".encode()).digest(),
            text.encode(),
            {"source": "docs", "uri": f"dir/{i}.txt", "license": "MIT", "lang": "en"},
        )
        for i, text in enumerate(texts)
    ]


def _content(texts: list[str], sample_bytes: int = 1000) -> tuple[bytes, pa.Table]:
    sink = io.BytesIO()
    places = write_content_shard(sink, _rows(texts), "train-000000", sample_bytes=sample_bytes)
    return sink.getvalue(), places


def _tokens(content: bytes) -> tuple[bytes, pa.Table]:
    sink = io.BytesIO()
    places = write_token_shard(io.BytesIO(content), _TOKENIZER, sink)
    return sink.getvalue(), places


TEXTS = ["short", "", "ein Wörtchen\n", "中" * 900, "x" * 40, "<|eod|>\0", "end" * 200]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=20), st.integers(1, 300)
)
def test_documents_come_back_whole(texts: list[str], sample_bytes: int) -> None:
    content, places = _content(texts, sample_bytes)
    tokens, token_places = _tokens(content)
    rows = _rows(texts)
    found = [
        (sample.doc_id(i), sample.text(i), {k: sample.documents[k][i] for k in rows[0][2]})
        for sample in read_content_shard(io.BytesIO(content))
        for i in range(len(sample))
    ]
    assert found == rows
    assert places["doc_id"].to_pylist() == [row[0] for row in rows]
    assert token_places["doc_id"].equals(places["doc_id"])
    samples = list(read_token_shard(io.BytesIO(tokens)))
    assert [s.key for s in samples] == [s.key for s in read_content_shard(io.BytesIO(content))]
    documents = [sample.document(i) for sample in samples for i in range(len(sample))]
    for text, ids in zip(texts, documents, strict=True):
        assert ids.tolist() == [*_TOKENIZER.encode(text).tolist(), _TOKENIZER.eod]
        assert ids.dtype == np.uint16


def test_a_range_read_finds_every_document() -> None:
    content, places = _content(TEXTS)
    tokens, token_places = _tokens(content)
    for i, text in enumerate(TEXTS):
        place, token_place = (
            places.slice(i, 1).to_pylist()[0],
            token_places.slice(i, 1).to_pylist()[0],
        )
        assert text_at(io.BytesIO(content), place["text_offset"], place["text_bytes"]) == text
        ids = tokens_at(
            pa.BufferReader(tokens), token_place["token_offset"], token_place["tokens"], np.uint16
        )
        assert ids[-1] == _TOKENIZER.eod
        assert _TOKENIZER.decode(ids[:-1]) == text.encode()
    with pytest.raises(ShardError, match="expected 99999999"):
        text_at(io.BytesIO(content), 0, 99_999_999)
    with pytest.raises(ShardError, match="expected 99999999 ids"):
        tokens_at(io.BytesIO(tokens), 0, 99_999_999, np.uint16)


def test_stock_webdataset_reads_both_sets(tmp_path: Path) -> None:
    content, _ = _content(TEXTS)
    tokens, _ = _tokens(content)
    (tmp_path / "content").mkdir()
    (tmp_path / "tokens").mkdir()
    (tmp_path / "content" / "train-000000.tar").write_bytes(content)
    (tmp_path / "tokens" / "train-000000.tar").write_bytes(tokens)

    def samples(folder: str) -> list[dict[str, Any]]:
        url = str(tmp_path / folder / "train-000000.tar")
        return list(webdataset.WebDataset(url, shardshuffle=False).decode())

    texts, ids = samples("content"), samples("tokens")
    ours = list(read_content_shard(io.BytesIO(content)))
    assert [sample["__key__"] for sample in texts] == [sample.key for sample in ours]
    assert [sample["__key__"] for sample in ids] == [sample.key for sample in ours]
    joined = []
    for sample, token_sample in zip(texts, ids, strict=True):
        documents = sample["json"]["documents"]
        data = sample["txt"].encode()
        for start, size in zip(documents["start"], documents["bytes"], strict=True):
            joined.append(data[start : start + size].decode())
        offsets = token_sample["offsets.npy"]
        assert len(offsets) == len(documents["id"]) + 1
        assert offsets[-1] == len(token_sample["ids.npy"])
        assert token_sample["spans.npy"].shape == (0, 3)
    assert joined == TEXTS


def test_members_are_plain_sorted_and_timeless() -> None:
    for archive in (_content(TEXTS)[0], _tokens(_content(TEXTS)[0])[0]):
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = tar.getmembers()
        names = [member.name for member in members]
        assert names == sorted(names)
        assert names[0].startswith("train-000000-000000.")
        for member in members:
            assert member.isreg()
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert member.uname == member.gname == ""


def test_samples_fill_up_and_long_documents_stand_alone() -> None:
    content, places = _content(["a" * 400, "b" * 400, "c" * 400, "d" * 5000, "e"], 1000)
    samples = list(read_content_shard(io.BytesIO(content)))
    assert [len(sample) for sample in samples] == [2, 1, 1, 1]
    assert places["member"].to_pylist() == [
        f"train-000000-00000{i}" for i in (0, 0, 1, 2, 3)
    ]  # fmt: skip


def test_bytes_depend_on_rows_alone(tmp_path: Path) -> None:
    content, places = _content(TEXTS)

    def stream() -> Iterator[Row]:
        yield from _rows(TEXTS)

    written = write_content_shard(
        tmp_path / "sub" / "a.tar", stream(), "train-000000", sample_bytes=1000
    )
    assert (tmp_path / "sub" / "a.tar").read_bytes() == content
    assert written.equals(places)
    tokens, _ = _tokens(content)
    write_token_shard(tmp_path / "sub" / "a.tar", _TOKENIZER, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == tokens
    # A change here is a change of the format: old shards would no longer be what a build makes.
    assert hashlib.sha256(content).hexdigest()[:16] == "f9241fa743024b15"
    assert hashlib.sha256(tokens).hexdigest()[:16] == "0e2ac64cca665283"


def test_an_empty_shard_is_a_shard() -> None:
    content, places = _content([])
    assert places.num_rows == 0
    tokens, token_places = _tokens(content)
    assert token_places.num_rows == 0
    assert list(read_content_shard(io.BytesIO(content))) == []
    assert list(read_token_shard(io.BytesIO(tokens))) == []


def test_tar_overhead_on_short_documents_is_small() -> None:
    texts = [(f"document {i} " * 30)[:300] for i in range(4000)]
    sink = io.BytesIO()
    write_content_shard(sink, _rows(texts), "train-000000")
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as tar:
        payload = sum(member.size for member in tar)
    text = sum(map(len, texts))
    assert (len(sink.getvalue()) - payload) / text < 0.01
    tokens, _ = _tokens(sink.getvalue())
    with tarfile.open(fileobj=io.BytesIO(tokens)) as tar:
        payload = sum(member.size for member in tar)
    assert (len(tokens) - payload) / payload < 0.05


class _Nowhere:
    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: Any) -> int:
        self.bytes += len(data)
        return len(data)


def test_writing_takes_the_memory_of_a_sample() -> None:
    def rows() -> Iterator[Row]:
        for i in range(400):
            yield i.to_bytes(16, "big"), bytes([65 + i % 26]) * 100_000, {}

    sink = _Nowhere()
    tracemalloc.start()
    try:
        write_content_shard(sink, rows(), "train-000000")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sink.bytes > 40_000_000
    assert peak < 2_000_000


def test_the_index_puts_the_tables_side_by_side() -> None:
    content, places = _content(TEXTS)
    _, token_places = _tokens(content)
    documents = pa.table(
        {
            "doc_id": places["doc_id"],
            "content_id": places["doc_id"],
            "source": pa.array(["docs"] * len(TEXTS)),
            "language": pa.array(["en"] * len(TEXTS)),
            "license": pa.array(["MIT"] * len(TEXTS)),
            "cluster": pa.nulls(len(TEXTS), pa.binary(16)),
        }
    )
    index = index_table(documents, places, token_places, shard="train-000000", split="train")
    assert index.schema == INDEX.schema
    assert index["token_offset"].equals(token_places["token_offset"])
    assert index["text_offset"].equals(places["text_offset"])
    assert set(index["tier"].to_pylist()) == {"unscored"}
    assert set(index["shard"].to_pylist()) == {"train-000000"}
    moved = token_places.set_column(2, "tokens", pa.array(range(len(TEXTS)), pa.int64()))
    again = index_table(index, index, moved, shard="heldout-000000", split="heldout")
    assert again["tokens"].to_pylist() == list(range(len(TEXTS)))
    assert set(again["shard"].to_pylist()) == {"heldout-000000"}
    assert again["text_offset"].equals(index["text_offset"])
    for wrong in (token_places.slice(1), token_places.take(pa.array(range(len(TEXTS))[::-1]))):
        with pytest.raises(ShardError, match="the tokens table holds other documents"):
            index_table(documents, places, wrong, shard="train-000000", split="train")


def test_wrong_rows_are_errors() -> None:
    with pytest.raises(ShardError, match="doc_id of 3 bytes, expected 16"):
        write_content_shard(io.BytesIO(), [(b"abc", b"text", {})], "train-000000")
    with pytest.raises(ShardError, match=r"expected KEY\.ext"):
        write_content_shard(io.BytesIO(), _rows(["a"]), "../train")
    sink = io.BytesIO()
    write_content_shard(sink, [(bytes(16), b"\xff\xfe", {})], "train-000000")
    with pytest.raises(ShardError, match="not UTF-8"):
        write_token_shard(io.BytesIO(sink.getvalue()), _TOKENIZER, io.BytesIO())


def test_names() -> None:
    assert shard_name("train", 7) == "train-000007"
    with pytest.raises(ShardError, match="not below 1,000,000"):
        shard_name("train", 10**6)


def test_json_is_json() -> None:
    content, _ = _content(TEXTS)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        member = tar.extractfile("train-000000-000000.json")
        assert member is not None
        documents = json.loads(member.read())["documents"]
    assert documents["uri"][:2] == ["dir/0.txt", "dir/1.txt"]
    assert documents["start"][0] == 0
