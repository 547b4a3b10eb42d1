"""The index of a shard: where each document's text and ids lie, and what it is."""

from __future__ import annotations

import pyarrow as pa

from dataflow.lists import empty_lists
from dataflow.shards.errors import ShardError
from dataflow.tables import INDEX

# Each table gives these columns and no others: `documents` may be an index, with older places.
_DESCRIBED = ("doc_id", "content_id", "source", "language", "license", "cluster", "tier", "domain")
_PLACED = ("member", "text_offset", "text_bytes")
_TOKENIZED = ("token_offset", "tokens")


def index_table(
    documents: pa.Table,
    content: pa.Table,
    tokens: pa.Table,
    *,
    shard: str,
    split: str,
    images: pa.Array | None = None,
) -> pa.Table:
    """Assemble the index of one shard from three tables with the same rows in shard order.

    Parameters
    ----------
    documents : pa.Table
        ``doc_id``, ``content_id``, ``source``, ``language``, ``license``, ``cluster``; also
        ``tier`` (else ``unscored``) and ``domain`` (else null).
    content : pa.Table
        What `write_content_shard` returned.
    tokens : pa.Table
        What `write_token_shard` returned.
    shard : str
        The name that both tars share, such as ``train-000000``.
    split : str
        ``train`` or ``heldout``.
    images : pa.ListArray of type ``PLACED_IMAGES``, optional
        Of each document; none by default.

    Returns
    -------
    pa.Table of ``INDEX.schema``

    Raises
    ------
    ShardError
        If the tables do not hold the same documents in the same order.
    """
    ids = documents["doc_id"].combine_chunks()
    for name, table in (("content", content), ("tokens", tokens)):
        if not table["doc_id"].combine_chunks().equals(ids):
            raise ShardError(
                f"{shard}: the {name} table holds other documents, or in another order, "
                f"({table.num_rows} rows) than the documents table ({len(ids)} rows)"
            )
    rows = len(ids)
    columns = {
        "shard": pa.repeat(pa.scalar(shard), rows),
        "split": pa.repeat(pa.scalar(split), rows),
        "tier": pa.repeat(pa.scalar("unscored"), rows),
        "domain": pa.nulls(rows, pa.string()),
        "images": empty_lists(rows, INDEX.schema.field("images").type),
    }
    if images is not None:
        columns["images"] = images
    for table, taken in ((documents, _DESCRIBED), (content, _PLACED), (tokens, _TOKENIZED)):
        columns.update({name: table[name] for name in taken if name in table.column_names})
    return pa.table(
        {field.name: columns[field.name] for field in INDEX.schema}, schema=INDEX.schema
    )
