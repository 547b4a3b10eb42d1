"""``tokenize``: token ids of a content shard, and the shard's part of the index."""

from __future__ import annotations

from typing import Any

import numpy as np

from dataflow.indexplaces import INDEX_FOLDER, index_kind
from dataflow.roots import hex_root
from dataflow.shardroots import shard_root, token_rows
from dataflow.shards import index_table, write_token_shard
from dataflow.steps.tokenizer import open_tokenizer
from dataflow.tables import INDEX
from dataflow.tasks import Step, StepContext
from dataflow.tilings import with_token_counts


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
        context.store.stream(context.input("content").outputs["shard"].path) as source,
        context.create("shard", path, kind="tokens") as sink,
    ):
        tokens = write_token_shard(source, tokenizer, sink)
    # An index of version 1 has no images.
    images = with_token_counts(places["images"]) if "images" in places.column_names else None
    index = index_table(
        places, places, tokens, shard=context.name, split=context.params["split"], images=images
    )
    # In a run with tiers this is the index without them, which is not to be read for the run's.
    folder = context.local.get("index", INDEX_FOLDER)
    with context.create_table("index", folder, INDEX, kind=index_kind(folder)) as out:
        out.write(index)
    with context.store.stream(path) as stream:
        root = shard_root(token_rows(stream, context.name))
    return {
        "rows": index.num_rows,
        "text_bytes": int(np.asarray(index["text_bytes"]).sum()),
        "tokens": int(np.asarray(index["tokens"]).sum()),
        "root": hex_root(root),
    }


STEP = Step("tokenize", run)
