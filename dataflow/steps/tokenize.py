"""``tokenize``: token ids of a content shard, and the shard's part of the index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.roots import hex_root, rows_root
from dataflow.shardroots import token_rows
from dataflow.shards import write_token_shard
from dataflow.steps.tokenizer import open_tokenizer
from dataflow.tables import INDEX
from dataflow.tasks import Step, StepContext

UNSCORED = "unscored"
"""The tier of documents that no scorer has seen."""


def run(context: StepContext) -> dict[str, Any]:
    """Write the token shard beside the content shard, and ``index``.

    Where the documents lie comes from ``places`` of ``pack``; or, when a built run gets another
    tokenizer, from the index that it has.
    """
    record = context.input("tokenizer")
    tokenizer = open_tokenizer(context, record)
    if "index" in context.job.inputs:
        places = context.read_table(context.input("index"), "index")
    else:
        places = context.read_table(context.input("content"), "places")
    path = f"shards/tokens-{tokenizer.hash}/{context.name}.tar"
    with (
        context.store.open(context.input("content").outputs["shard"].path) as source,
        context.create("shard", path, kind="tokens") as sink,
    ):
        tokens = write_token_shard(source, tokenizer, sink)
    if tokens["doc_id"].to_pylist() != places["doc_id"].to_pylist():
        raise ValueError(f"{context.name}: the content shard does not hold the index's documents")
    n = places.num_rows
    columns = {
        "shard": pa.array([context.name] * n, pa.string()),
        "token_offset": tokens["token_offset"],
        "tokens": tokens["tokens"],
        "tier": pa.array([UNSCORED] * n, pa.string()),
        "domain": pa.nulls(n, pa.string()),
        "split": pa.array([context.params["split"]] * n, pa.string()),
    }
    for name in INDEX.schema.names:
        if name not in columns or (name in ("tier", "domain") and name in places.column_names):
            columns[name] = places[name]
    with context.create_table("index", "index", INDEX, kind="index") as out:
        out.write(pa.table({name: columns[name] for name in INDEX.schema.names}))
    with context.store.open(path) as stream:
        root = rows_root(token_rows(stream, context.name))
    return {
        "rows": n,
        "text_bytes": int(np.asarray(places["text_bytes"]).sum()),
        "tokens": int(np.asarray(tokens["tokens"]).sum()),
        "root": hex_root(root),
    }


STEP = Step(
    "tokenize",
    run,
    code=(
        "dataflow/steps/tokenize.py",
        "dataflow/steps/tokenizer.py",
        "dataflow/tokenizer",
        "dataflow/shards",
        "dataflow/shardroots.py",
        "dataflow/tables.py",
    ),
)
