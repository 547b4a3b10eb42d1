"""Documents of runs and JSON lines, and labels with their texts."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
import zstandard

from quality.reward import documents
from quality.reward.documents import SCHEMA, DocumentsError, held_out, read_documents, texts_of
from quality.reward.judged import judged
from tests.quality.reward.made import corpus, label_of

LINES = b'{"text": "one", "source": "s", "uri": "u", "other": 1}\n\n{"text": "zwei \\u00fc"}\n'


def _id(text: str) -> bytes:
    return xxhash.xxh3_128_digest(text.encode())


def _run(folder: Path, texts: list[str], held: list[str] = []) -> Path:  # noqa: B006 - not changed
    (folder / "journal").mkdir(parents=True)
    (folder / "journal" / "run.json").write_text("{}")
    (folder / "documents").mkdir()
    (folder / "index").mkdir()
    n = len(texts)
    table = pa.table([[_id(t) for t in texts], ["s"] * n, ["u"] * n, [0] * n, texts], schema=SCHEMA)
    pq.write_table(
        table.append_column("more", [[0] * len(texts)]), folder / "documents" / "a.parquet"
    )
    ids = pa.array([_id(t) for t in held], pa.binary(16))
    pq.write_table(pa.table({"content_id": ids}), folder / "index" / "heldout-000000-k.parquet")
    return folder


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_lines_are_read_compressed_or_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some.{suffix}"
    pack: dict[str, Callable[[bytes], bytes]] = {
        "jsonl": bytes,
        "jsonl.gz": gzip.compress,
        "jsonl.zst": zstandard.ZstdCompressor().compress,
    }
    path.write_bytes(pack[suffix](LINES))
    (table,) = read_documents(path)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [
        {"content_id": _id("one"), "source": "s", "uri": "u", "offset": 0, "text": "one"},
        {"content_id": _id("zwei ü"), "source": "", "uri": "", "offset": 56, "text": "zwei ü"},
    ]


def test_batches_hold_little_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BATCH_BYTES", 100)
    texts = ["x" * size for size in (30, 80, 1, 500, 0, 99, 2)]
    run = _run(tmp_path / "run", texts)
    tables = list(read_documents(run))
    assert [t for table in tables for t in table["text"].to_pylist()] == texts
    assert all(
        table.num_rows == 1 or sum(map(len, table["text"].to_pylist())) <= 100 for table in tables
    )
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    tables = list(read_documents(lines))
    assert len(tables) > 1
    assert [t for table in tables for t in table["text"].to_pylist()] == texts


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\nno\n', "a.jsonl: line 2: found no JSON"),
        ("a.jsonl", b'{"text": 3}\n', "a.jsonl: line 1: text: found int, expected"),
        ("a.jsonl", b"[1]\n", "a.jsonl: line 1: text: found NoneType"),
        ("a.csv", b"text\n", "found .csv, expected the folder of a run, or a file"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentsError, match=said):
        list(read_documents(tmp_path / name))


def test_missing_inputs_and_unfinished_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentsError, match="found no such file or folder"):
        list(read_documents(tmp_path / "none.jsonl"))
    with pytest.raises(DocumentsError, match=r"found no journal/run.json, expected a finished run"):
        list(read_documents(tmp_path))


def test_texts_are_found_wherever_they_are(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", ["one", "two"])
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b'{"text": "three"}\n{"text": "one"}\n')
    wanted = frozenset(map(_id, ("one", "three", "four")))
    assert texts_of([run, lines], wanted) == {_id("one"): "one", _id("three"): "three"}


def test_what_a_corpus_holds_out_trains_nothing(tmp_path: Path) -> None:
    labels, texts = corpus(8)
    labels.append(label_of("held out by its label", 3, split="heldout"))
    run = _run(tmp_path / "run", [*texts[:6], "held out by its label"], held=texts[:2])
    assert held_out(run) == {_id(text) for text in texts[:2]}
    train = judged(labels, [run], "train")
    assert train.texts == texts[2:6]
    assert [label.content_id for label in train.labels] == [_id(text) for text in texts[2:6]]
    assert (train.missing, train.kept_back) == (2, 2)
    held = judged(labels, [run], "heldout")
    assert (held.texts, held.missing, held.kept_back) == (["held out by its label"], 0, 0)


def test_labels_without_any_text_are_refused(tmp_path: Path) -> None:
    labels, _ = corpus(3)
    with pytest.raises(DocumentsError, match="found the text of none of 3 labels"):
        judged(labels, [_run(tmp_path / "run", ["else"])], "train")
