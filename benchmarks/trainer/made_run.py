"""Runs made from document lengths alone, as a build leaves them: an index, and token shards of
random ids where these are to be read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import blake3
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dataflow.journal import Journal, Output, Record
from dataflow.parquet import open_writer
from dataflow.run import FORMAT, RUN_FILE
from dataflow.shards.npy import HEADER, to_npy
from dataflow.shards.tar import BLOCK, TarWriter
from dataflow.store import Store
from dataflow.tables import INDEX, conform

EOD = 1
VOCABULARY = 4096
TOKENIZER = "be9c"
SAMPLE_TOKENS = 1 << 18
"""Of a sample of a shard, about: half a megabyte of ids."""

_NO_SPANS = np.zeros((0, 3), np.int64)

I64 = npt.NDArray[np.int64]


def draw_lengths(count: int, l1: int, seed: int = 0) -> I64:
    """Tokens of documents of all three length classes, each with about a third of the tokens.

    Short ones are lognormal around a thousand tokens, medium and long ones even over their classes
    (long: to three times ``l1``).
    """
    draw = np.random.default_rng(seed)
    mean = 1500.0
    lengths = np.clip(draw.lognormal(np.log(mean) - 0.5, 1.0, count), 16, l1 // 4 - 1)
    kind = draw.random(count)
    medium = kind < 1 / (1 + 0.625 * l1 / mean)
    long = kind > 1 - 1 / (1 + 2 * l1 / mean)
    lengths[medium] = draw.integers(l1 // 4, l1, int(medium.sum()), endpoint=True)
    lengths[long] = draw.integers(l1 + 1, 3 * l1, int(long.sum()))
    return lengths.astype(np.int64)


def make_run(folder: Path, lengths: I64, *, shards: int, ids: bool, seed: int = 0) -> Path:
    """Write a run of one source; without ``ids`` its token shards are named and not there."""
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(str(folder))
    parts = np.array_split(lengths, shards)
    records = [_shard(store, n, part, ids, seed) for n, part in enumerate(parts)]
    root = blake3.blake3(lengths.tobytes() + bytes([ids]) + seed.to_bytes(8, "little"))
    commit_run(
        store, records, tokenizer=TOKENIZER, vocabulary=VOCABULARY, eod=EOD, root=root.hexdigest()
    )
    return folder


def commit_run(
    store: Store,
    shards: Sequence[Record],
    *,
    tokenizer: str,
    vocabulary: int,
    eod: int,
    root: str,
    partitions: Sequence[Mapping[str, Record]] = (),
    lookup: Record | None = None,
) -> None:
    """Commit a run's records and its head.

    Parameters
    ----------
    shards : a record a shard, with roles ``shard`` and ``index``
    partitions : of each the records of ``read``, ``scan``, ``language`` and ``settle``
    lookup : the side index; without one the run has none that can be read
    """
    journal = Journal(store)
    for record in [*shards, *(r for p in partitions for r in p.values())]:
        journal.commit(record)
    if lookup is not None:
        journal.commit(lookup)
    stats = {"hash": tokenizer, "vocab_size": vocabulary, "specials": {"eod": eod, "pad": 0}}
    journal.commit(Record("t" * 32, "tokenizer", "tokenizer", stats=stats))
    header = {
        "format": FORMAT,
        "name": "made",
        "logical_root": root,
        "file_root": root,
        "partitions": [
            {"name": f"part-{n:05d}", "source": "made", **{step: r.key for step, r in p.items()}}
            for n, p in enumerate(partitions)
        ],
        "shards": [{"name": r.name, "pack": r.key, "tokenize": r.key} for r in shards],
        "tokenizer": "t" * 32,
        "lookup": "t" * 32 if lookup is None else lookup.key,
        "energon": [],
    }
    store.write(RUN_FILE, orjson.dumps(header))


def shard_record(store: Store, name: str, tokenizer: str, shard: bytes, rows: pa.Table) -> Record:
    """Write a shard's tar, unless it is empty, and its index; the record of both.

    ``rows`` may lack columns of the index that are lists: they are empty, as of a document that
    is text alone.
    """
    for field in INDEX.schema:
        if field.name not in rows.schema.names:
            nothing = pa.array(np.zeros(rows.num_rows + 1, np.int32))
            values = pa.array([], field.type.value_type)
            rows = rows.append_column(field.name, pa.ListArray.from_arrays(nothing, values))
    rows = rows.select(INDEX.schema.names)
    index = io.BytesIO()
    with open_writer(index, INDEX.tagged) as writer:
        writer.write_table(conform(rows, INDEX))
    outputs = {}
    for role, path, data in (
        ("shard", f"shards/tokens-{tokenizer}/{name}.tar", shard),
        ("index", f"index/{name}.parquet", index.getvalue()),
    ):
        if data:
            store.write(path, data)
        digest = blake3.blake3(data).hexdigest()
        outputs[role] = Output(path, role, len(data), digest, rows.num_rows)
    return Record(blake3.blake3(name.encode()).hexdigest()[:32], "tokenize", name, outputs)


def _shard(store: Store, number: int, lengths: I64, ids: bool, seed: int) -> Record:
    name = f"train-{number:06d}"
    draw = np.random.default_rng([seed, number])
    ends = np.cumsum(lengths)
    sample = (ends - lengths) // SAMPLE_TOKENS
    cuts = [0, *(np.flatnonzero(np.diff(sample)) + 1).tolist(), len(lengths)]
    sink = io.BytesIO()
    tar = TarWriter(sink)
    members: list[str] = []
    places = []
    position = 0
    for n, (first, last) in enumerate(pairwise(cuts)):
        key = f"{name}-{n:06d}"
        offsets = np.concatenate([[0], np.cumsum(lengths[first:last])])
        if ids:
            drawn = draw.integers(64, VOCABULARY, int(offsets[-1]), dtype=np.uint16)
            drawn[offsets[1:] - 1] = EOD
            position = tar.add(f"{key}.ids.npy", *to_npy(drawn)) + HEADER
            tar.add(f"{key}.offsets.npy", *to_npy(offsets))
            tar.add(f"{key}.spans.npy", *to_npy(_NO_SPANS))
        else:
            position += 2 * BLOCK
        places.append(position + 2 * offsets[:-1])
        position += 2 * int(offsets[-1])
        members += [key] * (last - first)
    tar.close()
    count = len(lengths)
    random_ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), count, [None, pa.py_buffer(draw.bytes(16 * count))]
    )
    constant = {
        "shard": name, "source": "made", "language": "en", "license": "CC0-1.0", "tier": "unscored",
        "split": "train",
    }  # fmt: skip
    columns = {
        "doc_id": random_ids,
        "content_id": random_ids,
        "member": pa.array(members),
        "text_offset": pa.array(np.zeros(count, np.int64)),
        "text_bytes": pa.array(np.zeros(count, np.int64)),
        "token_offset": pa.array(np.concatenate(places)),
        "tokens": pa.array(lengths),
        "domain": pa.nulls(count, pa.string()),
        "cluster": pa.nulls(count, pa.binary(16)),
        **{key: pa.repeat(value, count) for key, value in constant.items()},
    }
    return shard_record(store, name, TOKENIZER, sink.getvalue() if ids else b"", pa.table(columns))
