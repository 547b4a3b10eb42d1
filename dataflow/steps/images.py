"""``images``: signals of the images and captions of every document."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dataflow.tasks import Step, StepContext
from vl_data.measure import caption_signals, image_signals
from vl_data.signals import schema

SCHEMA = pa.schema(
    [*schema("images"), *schema("captions")],
    metadata={"leyden.table": "signals/images", "leyden.version": "1"},
)


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/images`` row-aligned with the documents."""
    with context.create_table("signals", "signals/images", SCHEMA, kind="signals") as sink:
        for table in context.read_groups(context.input("documents"), "documents", _COLUMNS):
            found = [*image_signals(table).columns, *caption_signals(table).columns]
            sink.write(pa.Table.from_arrays(found, schema=SCHEMA))
        rows = sink.rows
    return {"rows": rows}


_COLUMNS = ["text", "images"]

STEP = Step("images", run)
