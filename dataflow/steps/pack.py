"""``pack``: the documents of one shard, in hash order, into its content tar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.exchange import SCHEMA, read_shard
from dataflow.roots import hex_root, rows_root
from dataflow.shardroots import content_rows
from dataflow.shards import shard_order, write_content_shard
from dataflow.steps.split import NAMES
from dataflow.tasks import Step, StepContext

PLACES = pa.schema(
    [
        *(SCHEMA.field(name) for name in SCHEMA.names if name != "text"),
        pa.field("member", pa.string()),
        pa.field("text_offset", pa.int64()),
        pa.field("text_bytes", pa.int64()),
    ]
)
"""The index of a shard before it has tokens, in shard order. It is temporary."""


def run(context: StepContext) -> dict[str, Any]:
    """Write the shard and where its documents lie in it."""
    split, shard = context.params["split"], context.params["shard"]
    parts = list(read_shard(context.store, list(context.inputs("settle")), split, shard))
    table = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
    table = table.take(pa.array(shard_order(table["doc_id"], context.params["seed"])))
    del parts
    path = f"shards/content/{context.name}.tar"
    rows = zip(
        table["doc_id"].to_pylist(),
        (text.as_py() for text in table["text"]),
        _metadata(table),
        strict=True,
    )
    with context.create("shard", path, kind="content") as sink:
        places = write_content_shard(
            sink, rows, context.name, sample_bytes=context.params["sample_bytes"]
        )
    columns = {name: table[name] for name in SCHEMA.names if name != "text"}
    for name in ("member", "text_offset", "text_bytes"):
        columns[name] = places[name]
    with context.create_table("places", "work/pack", PLACES, kind="work", temporary=True) as out:
        out.write(pa.table(columns, schema=PLACES))
    with context.store.stream(path) as stream:
        root = rows_root(content_rows(stream, context.name))
    return {
        "split": NAMES[split],
        "rows": table.num_rows,
        "text_bytes": int(np.asarray(places["text_bytes"]).sum()),
        "root": hex_root(root),
    }


def _metadata(table: pa.Table) -> Any:
    """What a shard says of each document beside its text."""
    for row in table.select(["source", "uri", "license", "language"]).to_pylist():
        row["lang"] = row.pop("language")
        yield row


STEP = Step("pack", run)
