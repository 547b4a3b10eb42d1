"""``tokenizer``: the tokenizer of a run, given or trained, as an artefact in the run folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from dataflow.journal import Record
from dataflow.shards import read_content_shard
from dataflow.tasks import Step, StepContext
from dataflow.tokenizer import Tokenizer, train, use
from dataflow.tokenizer.tokenizer import ARTEFACT_FILE


def _sample(context: StepContext, limit: int) -> Iterator[str]:
    """Texts of the train shards, shard after shard, until ``limit`` bytes are drawn.

    Shards are in hash order already, so their beginning is a random sample of the corpus.
    """
    drawn = 0
    for record in context.inputs("train"):
        with context.store.stream(record.outputs["shard"].path) as stream:
            for sample in read_content_shard(stream, record.name):
                for i in range(len(sample)):
                    if drawn >= limit:
                        return
                    drawn += len(sample.text(i))
                    yield from sample.pieces(i)


def take(path: str | Path) -> Tokenizer:
    """A tokenizer's folder as it is; a bare file with ids reserved for the roles that it lacks."""
    return Tokenizer.load(path) if Path(path).is_dir() else use(path)


def run(context: StepContext) -> dict[str, Any]:
    """Write the artefact's two files under ``tokenizer/HASH/``."""
    if context.params["train"] is not None:
        wanted = context.params["train"]
        tokenizer = train(_sample(context, wanted["sample_bytes"]), wanted["vocab_size"])
    else:
        tokenizer = take(context.local["path"])
        tokenizer.require(context.params["hash"], context.local["path"])
    tokenizer.save(context.scratch)
    for role, name in (("tokenizer", "tokenizer.json"), ("card", "leyden.json")):
        path = f"tokenizer/{tokenizer.hash}/{name}"
        with context.create(role, path, kind="tokenizer") as sink:
            sink.write((context.scratch / name).read_bytes())
    return {
        "hash": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "backend": tokenizer.backend,
        "specials": tokenizer.specials,
    }


_loaded: dict[str, Tokenizer] = {}
"""The tokenizer that this process used last, by hash: loading one takes as long as encoding
megabytes, and a worker sees many shards."""


def open_tokenizer(context: StepContext, record: Record) -> Tokenizer:
    """The tokenizer of a ``tokenizer`` record; loaded when it is not the last one used."""
    digest = str(record.stats["hash"])
    if digest in _loaded:
        return _loaded[digest]
    for role, name in (("tokenizer", "tokenizer.json"), ("card", "leyden.json")):
        target = context.scratch / name
        target.write_bytes(context.store.read(record.outputs[role].path))
    tokenizer = Tokenizer.load(context.scratch)
    tokenizer.require(digest, record.outputs["card"].path)
    _loaded.clear()
    _loaded[digest] = tokenizer
    return tokenizer


def peek_hash(path: str | Path) -> str:
    """The hash of a tokenizer's folder as it says itself (``run`` checks it), or of a bare file."""
    card = Path(path) / ARTEFACT_FILE
    if card.is_file():
        described = orjson.loads(card.read_bytes())
        if isinstance(described, dict) and isinstance(described.get("hash"), str):
            return str(described["hash"])
    return take(path).hash


STEP = Step("tokenizer", run)
