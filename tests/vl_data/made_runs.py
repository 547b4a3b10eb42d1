"""Runs with images as a build leaves them, made in a moment: content, tokens, index and journal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blake3
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.journal import Journal, Output, Record
from dataflow.parquet import open_writer
from dataflow.run import FORMAT, RUN_FILE
from dataflow.shards import index_table, write_content_shard, write_token_shard
from dataflow.store import Store
from dataflow.tables import INDEX, conform
from dataflow.tilings import with_token_counts
from dataflow.tokenizer import Tokenizer
from vl_data.images import MARK


@dataclass(frozen=True)
class Made:
    """A document: ``text`` has a mark for each of its images (bytes and their size)."""

    source: str
    text: str
    images: tuple[tuple[bytes, int, int], ...] = ()
    loss: tuple[int, ...] = ()
    tier: str = "unscored"
    split: str = "train"
    meta: dict[str, Any] = field(default_factory=dict)


def marked(text: str, *images: tuple[bytes, int, int]) -> dict[str, Any]:
    """Text and images of a document, the images in front."""
    return {"text": MARK * len(images) + text, "images": images}


def make_run(
    folder: Path, documents: Sequence[Made], tokenizer: Tokenizer, *, per_shard: int = 4
) -> Path:
    """Write a run of the documents in their order; shards of one split and kind hold some each."""
    store, journal = Store(str(folder)), Journal(Store(str(folder)))
    tokenizer.save(folder / "tokenizer" / tokenizer.hash)
    stats = {
        "hash": tokenizer.hash,
        "specials": tokenizer.specials,
        "vocab_size": tokenizer.vocab_size,
    }
    journal.commit(Record("t" * 32, "tokenizer", "tokenizer", stats=stats))
    shards = []
    kinds = sorted({(made.split, bool(made.images or made.loss)) for made in documents})
    for split, pictured in kinds:
        mine = [
            (number, made)
            for number, made in enumerate(documents)
            if (made.split, bool(made.images or made.loss)) == (split, pictured)
        ]
        for start in range(0, len(mine), per_shard):
            name = f"{split}{'-vl' if pictured else ''}-{start // per_shard:06d}"
            part = mine[start : start + per_shard]
            record = _shard(store, name, part, tokenizer, split, pictured)
            keys = [journal.commit(each).key for each in (record, _tokenized(record))]
            shards.append({"name": name, "pack": keys[0], "tokenize": keys[1]})
    header = {"format": FORMAT, "name": "made", "shards": shards, "tokenizer": "t" * 32}
    store.write(RUN_FILE, orjson.dumps(header))
    return folder


def rewrite_index(folder: Path, version: int) -> None:
    """Give each index file of a run the form that an earlier version of it had."""
    for path in (folder / "index").iterdir():
        table = pq.read_table(path)
        schema = INDEX.columns(version)
        rows = table.select(schema.names).to_pylist()
        if version == 2:
            names = schema.field("images").type.value_type.names
            for row in rows:
                row["images"] = [{name: image[name] for name in names} for image in row["images"]]
        metadata = {"leyden.table": INDEX.name, "leyden.version": str(version)}
        pq.write_table(pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata)), path)


def _shard(
    store: Store,
    name: str,
    part: Sequence[tuple[int, Made]],
    tokenizer: Tokenizer,
    split: str,
    pictured: bool,
) -> Record:
    rows = []
    for number, made in part:
        images = [
            {"data": data, "digest": blake3.blake3(data).digest(), "format": "png",
             "width": width, "height": height}
            for data, width, height in made.images
        ]  # fmt: skip
        meta = {"source": made.source, "uri": f"page-{number}", "license": "CC0-1.0", "lang": "en"}
        lists = {"images": images, "loss": list(made.loss)} if pictured else {}
        rows.append(
            (number.to_bytes(16, "big"), made.text.encode(), {**meta, **made.meta, **lists})
        )
    content, tokens = io.BytesIO(), io.BytesIO()
    places = write_content_shard(content, rows, name, lists=pictured, sample_bytes=1 << 14)
    content.seek(0)
    counts = write_token_shard(content, tokenizer, tokens)
    described = pa.table(
        {
            "doc_id": places["doc_id"],
            "content_id": places["doc_id"],
            "source": [made.source for _, made in part],
            "language": ["en"] * len(part),
            "license": ["CC0-1.0"] * len(part),
            "cluster": pa.nulls(len(part), pa.binary(16)),
            "tier": [made.tier for _, made in part],
        }
    )
    index = index_table(
        described, places, counts, shard=name, split=split,
        images=with_token_counts(places["images"]),
    )  # fmt: skip
    file = io.BytesIO()
    with open_writer(file, INDEX.tagged) as writer:
        writer.write_table(conform(index, INDEX))
    outputs = {}
    for role, path, data in (
        ("shard", f"shards/content/{name}.tar", content.getvalue()),
        ("tokens", f"shards/tokens/{name}.tar", tokens.getvalue()),
        ("index", f"index/{name}.parquet", file.getvalue()),
    ):
        store.write(path, data)
        outputs[role] = Output(path, role, len(data), blake3.blake3(data).hexdigest())
    return Record(_key(name), "pack", name, outputs)


def _tokenized(record: Record) -> Record:
    outputs = {"shard": record.outputs["tokens"], "index": record.outputs["index"]}
    return Record(_key(record.name + "tokens"), "tokenize", record.name, outputs)


def _key(name: str) -> str:
    return blake3.blake3(name.encode()).hexdigest()[:32]
