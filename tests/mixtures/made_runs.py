"""Run folders made by hand: an index and token shards as a build writes them, without its text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import blake3
import numpy as np
import pyarrow as pa

from benchmarks.trainer.made_run import commit_run, shard_record
from dataflow.ids import content_id, doc_id
from dataflow.journal import Record
from dataflow.shards.npy import HEADER, to_npy
from dataflow.shards.tar import TarWriter
from dataflow.store import Store
from dataflow.tables import INDEX
from dataflow.tilings import TILINGS
from tests.mixtures.made_ledger import write_ledger

EOD = 1
VOCABULARY = 512


@dataclass(frozen=True)
class Made:
    """A document: its source, its tokens (the end of document counted), its split, and how many
    features each of its images has by the first tiling (by the next: one more, and so on);
    the name of its near-duplicate cluster, and signals that were measured of it."""

    source: str
    tokens: int
    split: str = "train"
    features: tuple[int, ...] = ()
    tier: str = "unscored"
    language: str = "en"
    domain: str | None = None
    cluster: str | None = None
    signals: Mapping[str, float] = field(default_factory=dict)


def made_doc_id(documents: Sequence[Made], place: int) -> bytes:
    """The id of a document of `make_run`."""
    return doc_id(documents[place].source, f"document {place}", 0)


def made_cluster(name: str | None) -> bytes | None:
    """The id of a cluster by its name."""
    return None if name is None else content_id(name.encode())


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
    spans: Mapping[int, Sequence[tuple[int, int]]] | None = None,
    dropped: Sequence[Made] = (),
    partitions: int = 3,
) -> list[int]:
    """Write a run of ``documents``; train documents come first.

    ``dropped`` are in the ledger and were not packed. What was read is in ``partitions`` parts, and
    there are ledger, signals and side index where a document has a cluster or a signal.
    ``versions`` changes the ids of documents, by their place in ``documents``, and ``spans`` gives
    them loss spans: nothing that a plan knows.

    Returns
    -------
    For each document of the run, by its number, its place in ``documents``.
    """
    store = Store(str(folder))
    order: list[int] = []
    shards: list[Record] = []
    for split in ("train", "heldout"):
        mine = [i for i, document in enumerate(documents) if document.split == split]
        for number, start in enumerate(range(0, len(mine), shard_documents)):
            name = f"{split}-{number:06d}"
            places = mine[start : start + shard_documents]
            record = _shard(
                store, name, places, documents, sample_documents, tokenizer, versions, spans or {}
            )
            order += places
            shards.append(record)
    root = blake3.blake3(repr((tokenizer, [documents[i] for i in order], shard_documents)).encode())
    read: list[dict[str, Record]] = []
    lookup = None
    everything = [*documents, *dropped]
    if any(document.cluster is not None or document.signals for document in everything):
        # Numbers are those of the shards, one after the other.
        starts = np.cumsum([0, *(record.outputs["index"].rows for record in shards)])
        packed = {}
        for number, place in enumerate(order):
            shard = int(np.searchsorted(starts, number, side="right")) - 1
            packed[made_doc_id(documents, place)] = (shard, number - int(starts[shard]))
        rows = [
            (made_doc_id(everything, place), made_cluster(document.cluster), document.signals)
            for place, document in enumerate(everything)
        ]
        read, lookup = write_ledger(store, rows, packed, partitions)
    commit_run(
        store, shards, tokenizer=tokenizer, vocabulary=VOCABULARY, eod=EOD, root=root.hexdigest(),
        partitions=read, lookup=lookup,
    )  # fmt: skip
    return order


def _placed(features: int) -> dict[str, int]:
    """An image as the index has it."""
    counts = {f"tokens_{tiling}": features + more for more, tiling in enumerate(TILINGS)}
    return {"width": 8, "height": 8, "bytes": 1, "offset": 0, **counts}


def _shard(
    store: Store,
    name: str,
    places: Sequence[int],
    documents: Sequence[Made],
    sample_documents: int,
    tokenizer: str,
    versions: Mapping[int, int] | None,
    spans: Mapping[int, Sequence[tuple[int, int]]],
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
        loss = [(i, *span) for i, place in enumerate(mine) for span in spans.get(place, ())]
        tar.add(f"{key}.spans.npy", *to_npy(np.array(loss, np.int64).reshape(-1, 3)))
        for i, offset in zip(mine, offsets.tolist(), strict=False):
            rows.append(
                {
                    "doc_id": made_doc_id(documents, i),
                    "content_id": content_id(b"content %d" % i),
                    "shard": name,
                    "member": key,
                    "text_offset": 0,
                    "text_bytes": 0,
                    "token_offset": start + 2 * offset,
                    "tokens": documents[i].tokens,
                    "source": documents[i].source,
                    "language": documents[i].language,
                    "license": "CC0-1.0",
                    "tier": documents[i].tier,
                    "domain": documents[i].domain,
                    "split": documents[i].split,
                    "cluster": made_cluster(documents[i].cluster),
                    "images": [_placed(features) for features in documents[i].features],
                }
            )
    tar.close()
    schema = pa.schema([field for field in INDEX.schema if field.name in rows[0]])
    table = pa.Table.from_pylist(rows, schema=schema)
    return shard_record(store, name, tokenizer, sink.getvalue(), table)
