"""``language``: the language of every document, by fastText on its full text."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dataflow.steps.columns import text_lengths
from dataflow.tasks import Step, StepContext
from quality.language import identify
from quality.signals import SIGNALS

SCHEMA = pa.schema(
    [
        pa.field(signal.name, signal.type, nullable=True)
        for signal in SIGNALS.values()
        if signal.producer == "language"
    ],
    metadata={"leyden.table": "signals/language", "leyden.version": "1"},
)


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/language`` row-aligned with the documents; nulls where it is disabled."""
    text_bytes = 0
    with context.create_table("signals", "signals/language", SCHEMA, kind="signals") as sink:
        for table in context.read_groups(context.input("documents"), "documents", ["text"]):
            if context.params["enabled"]:
                labels, scores = identify(table["text"])
            else:
                labels = pa.nulls(table.num_rows, pa.string())
                scores = pa.nulls(table.num_rows, pa.float32())
            sink.write(pa.table([labels, scores], names=["lang.label", "lang.score"]))
            text_bytes += int(text_lengths(table["text"]).sum())
        rows = sink.rows
    return {"rows": rows, "text_bytes": text_bytes}


STEP = Step("language", run)
