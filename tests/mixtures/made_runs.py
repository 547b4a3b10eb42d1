"""Run folders made by hand: an index and token shards as a build writes them, without its text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import blake3
import numpy as np
import orjson
import pyarrow as pa

from dataflow.ids import content_id, doc_id
from dataflow.journal import Journal, Output, Record
from dataflow.parquet import open_writer
from dataflow.run import FORMAT, RUN_FILE
from dataflow.shards.npy import HEADER, to_npy
from dataflow.shards.tar import TarWriter
from dataflow.store import Store
from dataflow.tables import INDEX, conform

EOD = 1
VOCABULARY = 512


@dataclass(frozen=True)
class Made:
    """A document: its source, its tokens (the end of document counted), and its split."""

    source: str
    tokens: int
    split: str = "train"


def made_ids(number: int, tokens: int, version: int = 0) -> np.ndarray:
    """The ids of a document; another ``version`` has others."""
    generator = np.random.default_rng([number, version])
    ids = generator.integers(64, VOCABULARY, tokens).astype(np.uint16)
    ids[-1] = EOD
    return ids


def make_run(
    folder: Path,
    documents: Sequence[Made],
    *,
    shard_documents: int = 7,
    sample_documents: int = 3,
    tokenizer: str = "7e57",
    versions: Mapping[int, int] | None = None,
) -> list[int]:
    """Write a run of ``documents``; train documents come first.

    ``versions`` changes the ids of documents, by their place in ``documents``, and nothing that a
    plan knows.

    Returns
    -------
    For each document of the run, by its number, its place in ``documents``.
    """
    store = Store(str(folder))
    journal = Journal(store)
    order: list[int] = []
    shards = []
    for split in ("train", "heldout"):
        mine = [i for i, document in enumerate(documents) if document.split == split]
        for number, start in enumerate(range(0, len(mine), shard_documents)):
            name = f"{split}-{number:06d}"
            places = mine[start : start + shard_documents]
            record = _shard(store, name, places, documents, sample_documents, tokenizer, versions)
            journal.commit(record)
            order += places
            shards.append({"name": name, "pack": record.key, "tokenize": record.key})
    stats = {"hash": tokenizer, "vocab_size": VOCABULARY, "specials": {"eod": EOD, "pad": 0}}
    journal.commit(Record("t" * 32, "tokenizer", "tokenizer", stats=stats))
    root = blake3.blake3(repr((tokenizer, [documents[i] for i in order], shard_documents)).encode())
    header = {
        "format": FORMAT,
        "name": "made",
        "logical_root": root.hexdigest(),
        "file_root": root.hexdigest(),
        "partitions": [],
        "shards": shards,
        "tokenizer": "t" * 32,
        "lookup": "t" * 32,
        "energon": [],
    }
    store.write(RUN_FILE, orjson.dumps(header))
    return order


def _shard(
    store: Store,
    name: str,
    places: Sequence[int],
    documents: Sequence[Made],
    sample_documents: int,
    tokenizer: str,
    versions: Mapping[int, int] | None,
) -> Record:
    rows = []
    sink = io.BytesIO()
    tar = TarWriter(sink)
    for sample in range(0, len(places), sample_documents):
        mine = places[sample : sample + sample_documents]
        key = f"{name}-{sample // sample_documents:06d}"
        arrays = [made_ids(i, documents[i].tokens, (versions or {}).get(i, 0)) for i in mine]
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        start = tar.add(f"{key}.ids.npy", *to_npy(np.concatenate(arrays))) + HEADER
        tar.add(f"{key}.offsets.npy", *to_npy(offsets))
        tar.add(f"{key}.spans.npy", *to_npy(np.zeros((0, 3), np.int64)))
        for i, offset in zip(mine, offsets.tolist(), strict=False):
            rows.append(
                {
                    "doc_id": doc_id(documents[i].source, f"document {i}", 0),
                    "content_id": content_id(b"content %d" % i),
                    "shard": name,
                    "member": key,
                    "text_offset": 0,
                    "text_bytes": 0,
                    "token_offset": start + 2 * offset,
                    "tokens": documents[i].tokens,
                    "source": documents[i].source,
                    "language": "en",
                    "license": "CC0-1.0",
                    "tier": "unscored",
                    "domain": None,
                    "split": documents[i].split,
                    "cluster": None,
                }
            )
    tar.close()
    index = io.BytesIO()
    with open_writer(index, INDEX.tagged) as writer:
        writer.write_table(conform(pa.Table.from_pylist(rows, schema=INDEX.schema), INDEX))
    outputs = {}
    for role, path, data in (
        ("shard", f"shards/tokens-{tokenizer}/{name}.tar", sink.getvalue()),
        ("index", f"index/{name}.parquet", index.getvalue()),
    ):
        store.write(path, data)
        digest = blake3.blake3(data).hexdigest()
        outputs[role] = Output(path, role, len(data), digest, len(rows))
    return Record(blake3.blake3(name.encode()).hexdigest()[:32], "tokenize", name, outputs)
