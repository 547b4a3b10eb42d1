"""Signals and document columns side by side, as rules and expressions see them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dataflow.tasks import StepContext
from quality.signals import SIGNALS


def join_signals(context: StepContext, columns: Sequence[str], position: int = 0) -> pa.Table:
    """The named signal and document columns of one partition, row-aligned, in that order.

    ``position`` is the partition's place among the task's inputs ``documents``, ``scan`` and
    ``language``. Only the columns named are read; text never is.
    """
    by_producer: dict[str, list[str]] = {"document": [], "scan": [], "language": []}
    for name in columns:
        by_producer[SIGNALS[name].producer].append(name)
    found: dict[str, pa.ChunkedArray] = {}
    for producer, role, output in (
        ("document", "documents", "documents"),
        ("scan", "scan", "signals"),
        ("language", "language", "signals"),
    ):
        wanted = by_producer[producer]
        if wanted:
            table = context.read_table(context.inputs(role)[position], output, wanted)
            found.update({name: table[name] for name in wanted})
    return pa.table({name: found[name] for name in columns})
