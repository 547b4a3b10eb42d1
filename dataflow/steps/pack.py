"""``pack``: the documents of one shard, in hash order, into its content tar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.exchange import SCHEMA, ShardSource
from dataflow.roots import hex_root
from dataflow.shardroots import content_rows, shard_root
from dataflow.shards import write_content_shard
from dataflow.shards.content import PLACES as CONTENT_PLACES
from dataflow.steps.split import NAMES
from dataflow.tasks import Step, StepContext
from dataflow.windows import windows_in_order

DESCRIBED = pa.schema([SCHEMA.field(name) for name in SCHEMA.names if name != "text"])
"""What is known of a document beside its text."""

PLACES = pa.schema(
    [
        *DESCRIBED,
        pa.field("member", pa.string()),
        pa.field("text_offset", pa.int64()),
        pa.field("text_bytes", pa.int64()),
        CONTENT_PLACES.field("images"),
    ]
)
"""The index of a shard before it has tokens, in shard order. It is temporary."""


def run(context: StepContext) -> dict[str, Any]:
    """Write the shard and where its documents lie in it."""
    source = ShardSource(
        context.store, context.inputs("settle"), context.params["set"], context.params["shard"]
    )
    described: list[pa.Table] = []
    path = f"shards/content/{context.name}.tar"
    with context.create("shard", path, kind="content") as sink:
        windows = windows_in_order(
            source.tables(),
            context.params["seed"],
            context.local["text_bytes"],
            context.scratch,
        )
        places = write_content_shard(
            sink,
            _rows(windows, described),
            context.name,
            sample_bytes=context.params["sample_bytes"],
            lists=bool(source.extra),
        )
    table = pa.concat_tables([DESCRIBED.empty_table(), *described])
    columns = {name: table[name] for name in DESCRIBED.names}
    for name in ("member", "text_offset", "text_bytes", "images"):
        columns[name] = places[name]
    with context.create_table("places", "work/pack", PLACES, kind="work", temporary=True) as out:
        out.write(pa.table(columns, schema=PLACES))
    with context.store.stream(path) as stream:
        root = shard_root(content_rows(stream, context.name))
    return {
        "split": NAMES[context.params["split"]],
        "rows": table.num_rows,
        "text_bytes": int(np.asarray(places["text_bytes"]).sum()),
        "root": hex_root(root),
    }


def _rows(
    windows: Iterator[pa.Table], described: list[pa.Table]
) -> Iterator[tuple[bytes, bytes, dict[str, Any]]]:
    """Ids, texts and metadata; the columns beside the text of each window go to ``described``."""
    for table in windows:
        described.append(table.select(DESCRIBED.names))
        yield from zip(
            table["doc_id"].to_pylist(),
            (text.as_py() for text in table["text"]),
            _metadata(table),
            strict=True,
        )
        del table  # or it would be held while the next one is read


def _metadata(table: pa.Table) -> Any:
    """What a shard says of each document beside its text."""
    names = ["source", "uri", "license", "language"]
    lists = "loss" in table.column_names
    for i, row in enumerate(table.select(names).to_pylist()):
        row["lang"] = row.pop("language")
        if lists:
            row["loss"] = table["loss"][i].as_py()
            row["images"] = table["images"][i].as_py() if "images" in table.column_names else []
        yield row


STEP = Step("pack", run)
