"""Training: the same texts give the same tokenizer, in any order, process and number of threads."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.shards import write_content_shard
from dataflow.tokenizer import SPECIALS, Tokenizer, TokenizerError, train
from dataflow.tokenizer.commands import train_command
from dataflow.tokenizer.sampling import read_texts, sample_by_hash, text_files

ROOT = Path(__file__).parents[2]


def _texts() -> list[str]:
    made = random.Random(7)
    words = ["".join(made.choices("abcdeéжд中文 ", k=made.randint(2, 9))) for _ in range(400)]
    return [" ".join(made.choices(words, k=60)) + "\n    x = 1\n" for _ in range(120)]


def test_order_and_repetition_do_not_matter(tmp_path: Path) -> None:
    texts = _texts()
    first = train(texts, 800, tmp_path / "a")
    random.Random(1).shuffle(texts)
    second = train(iter(texts), 800, tmp_path / "b")
    assert first.hash == second.hash
    for name in ("tokenizer.json", "leyden.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert train(texts[:60], 800).hash != first.hash


def test_process_and_threads_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(_texts()))
    code = (
        "import json, sys; from dataflow.tokenizer import train;"
        "print(train(json.load(open(sys.argv[1])), 800).hash)"
    )
    expected = train(_texts(), 800).hash
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "t.json")],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == expected


def test_the_folder_loads_as_what_was_trained(tmp_path: Path) -> None:
    trained = train(_texts(), 700, tmp_path, corpus={"name": "made-up words"})
    loaded = Tokenizer.load(tmp_path)
    assert loaded.hash == trained.hash
    assert loaded.specials == SPECIALS
    assert loaded.vocab_size == 700
    assert loaded.provenance["documents"] == 120
    assert loaded.provenance["name"] == "made-up words"
    bare = Tokenizer.load(tmp_path / "tokenizer.json")
    assert bare.hash == trained.hash
    text = _texts()[0]
    assert loaded.encode(text).tolist() == loaded.reference_encode([text])[0].tolist()
    text_of_card = (tmp_path / "leyden.json").read_text()
    assert str(tmp_path) not in text_of_card


def test_too_little_text_is_an_error_that_says_how_much_it_gives() -> None:
    with pytest.raises(TokenizerError, match=r"vocab_size of at most \d+"):
        train(["too little"], 2000)
    with pytest.raises(TokenizerError, match="expected at least 320"):
        train(["x"], 300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card, _: card.update(format="other"), "`format` is not"),
        (lambda card, _: card.update(version=99), "found version 99, expected 1"),
        (lambda _, data: data["model"]["merges"].pop(), "the file was changed"),
        (lambda _, data: data["model"].pop("vocab"), "no `model.vocab`"),
    ],
)
def test_a_damaged_folder_is_an_error(tmp_path: Path, change: Any, message: str) -> None:
    train(_texts(), 600, tmp_path)
    card = orjson.loads((tmp_path / "leyden.json").read_bytes())
    data = orjson.loads((tmp_path / "tokenizer.json").read_bytes())
    change(card, data)
    (tmp_path / "leyden.json").write_bytes(orjson.dumps(card))
    (tmp_path / "tokenizer.json").write_bytes(orjson.dumps(data))
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(tmp_path)


def test_what_is_no_tokenizer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"leyden\.json.*expected a tokenizer folder"):
        Tokenizer.load(tmp_path)
    with pytest.raises(TokenizerError, match="No such file"):
        Tokenizer.load(tmp_path / "absent.json")
    (tmp_path / "t.json").write_text("{]")
    with pytest.raises(TokenizerError, match="not JSON"):
        Tokenizer.load(tmp_path / "t.json")


def test_train_command_reads_every_kind_of_file(tmp_path: Path) -> None:
    texts = _texts()
    lines = [json.dumps({"text": text}).encode() for text in texts]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines[:30]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[30:60])))
    pq.write_table(pa.table({"text": texts[60:90]}), tmp_path / "c.parquet")
    shards = tmp_path / "run" / "shards" / "content"
    rows: list[tuple[bytes, bytes, dict[str, str]]] = [
        (bytes([i]) * 16, text.encode(), {}) for i, text in enumerate(texts[90:120])
    ]
    write_content_shard(shards / "train-000000.tar", rows, "train-000000")
    write_content_shard(shards / "heldout-000000.tar", rows, "heldout-000000")
    inputs = [tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "run")]
    found = train_command(inputs, vocab_size=800, out=tmp_path / "out")
    assert found["hash"] == train(texts, 800).hash
    assert found["provenance"]["documents"] == 120
    with pytest.raises(TokenizerError, match="held-out"):
        text_files([shards / "heldout-000000.tar"])
    with pytest.raises(TokenizerError, match="no such file"):
        text_files([tmp_path / "absent.txt"])
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(TokenizerError, match="line 2: expected a JSON object with 'text'"):
        list(read_texts([tmp_path / "d.jsonl"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=30), st.integers(1, 300), st.randoms())
def test_a_sample_does_not_depend_on_order(
    texts: list[str], max_bytes: int, shuffler: random.Random
) -> None:
    found = sample_by_hash(texts, max_bytes)
    shuffled = list(texts)
    shuffler.shuffle(shuffled)
    assert sample_by_hash(shuffled, max_bytes) == found
    assert set(found) <= set(texts)
    size = sum(len(text.encode()) for text in found)
    assert size >= min(max_bytes, sum(len(text.encode()) for text in set(texts)))
    assert sum(len(text.encode()) for text in found[:-1]) < max_bytes
