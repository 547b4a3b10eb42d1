"""``language``: the language of every document, by fastText on its full text."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dataflow.tasks import Step, StepContext
from quality.language import identify
from quality.signals import SIGNALS

SCHEMA = pa.schema(
    [
        pa.field(signal.name, signal.type, nullable=False)
        for signal in SIGNALS.values()
        if signal.producer == "language"
    ],
    metadata={"leyden.table": "signals/language", "leyden.version": "1"},
)


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/language`` row-aligned with the documents."""
    text_bytes = 0
    with context.create_table("signals", "signals/language", SCHEMA, kind="signals") as sink:
        for table in context.read_groups(context.input("documents"), "documents", ["text"]):
            labels, scores = identify(table["text"])
            sink.write(
                pa.table(
                    [pa.array(labels, pa.string()), pa.array(scores, pa.float32())],
                    names=["lang.label", "lang.score"],
                )
            )
            text_bytes += table["text"].nbytes
        rows = sink.rows
    return {"rows": rows, "text_bytes": text_bytes}


STEP = Step(
    "language",
    run,
    code=("quality/language.py", "quality/signals.py", "dataflow/steps/language.py"),
)
