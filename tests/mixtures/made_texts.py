"""Runs made by hand that have text alone: content shards of both splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from dataflow.journal import Output, Record
from dataflow.run import Run, ShardRecords
from dataflow.shards import write_content_shard
from dataflow.store import Store


@dataclass(frozen=True)
class Text:
    """A document."""

    source: str
    text: str
    language: str = "en"

    @property
    def doc_id(self) -> bytes:
        return xxhash.xxh3_128_digest(f"{self.source} {self.text}".encode())


def make_texts(
    folder: Path, train: Sequence[Text], held_out: Sequence[Text], *, together: int = 1000
) -> Run:
    """A run of these documents, ``together`` a shard, as far as its text is asked for."""
    store = Store(str(folder))
    empty = Record("", "", "")
    shards = []
    for split, texts in (("train", train), ("heldout", held_out)):
        for number, start in enumerate(range(0, len(texts), together)):
            name = f"{split}-{number:06d}"
            path = f"shards/content/{name}.tar"
            rows = [
                (
                    one.doc_id,
                    one.text.encode(),
                    {"source": one.source, "uri": "", "license": "", "lang": one.language},
                )
                for one in texts[start : start + together]
            ]
            with store.create(path) as sink:
                write_content_shard(sink, rows, name, sample_bytes=4096)
            pack = Record("", "pack", name, {"shard": Output(path, "content", 0, "")})
            shards.append(ShardRecords(name, pack, empty))
    return Run(store, {"logical_root": "07"}, [], shards, empty, empty, [])
