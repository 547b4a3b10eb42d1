"""``decide``: thresholds applied to columns. The first rule that a document fails drops it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.steps.signals import join_signals
from dataflow.tasks import Step, StepContext
from quality.rules import Rule, decide

LENGTH = "text.bytes"


def run(context: StepContext) -> dict[str, Any]:
    """Write, row-aligned: the failing rule's number (-1: kept), its value and threshold."""
    rules = [Rule.from_json(rule) for rule in context.params["rules"]]
    names = sorted({name for rule in rules for name in rule.columns} | {LENGTH})
    table = join_signals(context, names)
    rule, value, threshold = decide(table, rules)
    context.write_arrays(
        "decisions",
        {
            "rule": pa.array(rule, pa.int16()),
            "value": value,
            "threshold": threshold,
            "text_bytes": np.asarray(table[LENGTH], np.int64),
        },
    )
    return {
        "rows": table.num_rows,
        "passed": int((rule < 0).sum()),
        "text_bytes": int(np.asarray(table[LENGTH], np.int64).sum()),
    }


STEP = Step("decide", run)
