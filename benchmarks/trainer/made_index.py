"""An index of many documents made up shard by shard, without any tokens: what plans read of a run.

Ids are counted and not drawn: they are hashed before they decide anything, and an index of a
hundred million documents then fits where its hashes would not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import blake3
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from benchmarks.trainer.made_run import (
    EOD,
    SAMPLE_TOKENS,
    TOKENIZER,
    VOCABULARY,
    commit_run,
    draw_lengths,
    shard_record,
)
from dataflow.run import RUN_FILE
from dataflow.shards.tar import BLOCK
from dataflow.store import Store

SHARD_DOCUMENTS = 250_000


def make_index(folder: Path, documents: int, l1: int, seed: int = 0) -> Path:
    """Write the index of a run of about ``documents`` documents of one source, unless it is there.

    Lengths are those of `draw_lengths`.
    """
    shards = max(1, documents // SHARD_DOCUMENTS)
    root = blake3.blake3(repr((documents, l1, seed, 1)).encode()).hexdigest()
    head = folder / RUN_FILE
    if head.exists() and orjson.loads(head.read_bytes())["logical_root"] == root:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(str(folder))
    counts = [len(part) for part in np.array_split(np.zeros(documents, np.bool_), shards)]
    firsts = np.cumsum([0, *counts]).tolist()
    records = []
    for number, count in enumerate(counts):
        # One seed a shard: drawn together they would not fit.
        lengths = draw_lengths(count, l1, seed * shards + number)
        name = f"train-{number:06d}"
        rows = _rows(name, firsts[number], lengths)
        records.append(shard_record(store, name, TOKENIZER, b"", rows))
    commit_run(store, records, tokenizer=TOKENIZER, vocabulary=VOCABULARY, eod=EOD, root=root)
    return folder


def _rows(name: str, first: int, lengths: npt.NDArray[np.int64]) -> pa.Table:
    count = len(lengths)
    before = np.cumsum(lengths) - lengths
    sample = before // SAMPLE_TOKENS
    _, sample = np.unique(sample, return_inverse=True)
    keys = pa.array([f"{name}-{n:06d}" for n in range(int(sample[-1]) + 1)])
    words = np.zeros((count, 2), ">u8")
    words[:, 1] = first + np.arange(count)
    ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), count, [None, pa.py_buffer(words.tobytes())]
    )
    nothing = pa.array(np.zeros(count, np.int64))
    constant = {
        "shard": name, "source": "made", "language": "en", "license": "CC0-1.0", "tier": "unscored",
        "split": "train",
    }  # fmt: skip
    return pa.table(
        {
            "doc_id": ids,
            "content_id": ids,
            "member": keys.take(pa.array(sample)),
            "text_offset": nothing,
            "text_bytes": nothing,
            "token_offset": pa.array(2 * before + 2 * BLOCK * (sample + 1)),
            "tokens": pa.array(lengths),
            "domain": pa.nulls(count, pa.string()),
            "cluster": pa.nulls(count, pa.binary(16)),
            **{key: pa.repeat(value, count) for key, value in constant.items()},
        }
    )
