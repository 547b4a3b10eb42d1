"""Signals and document columns side by side, as rules and expressions see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dataflow.preferences import gaps
from dataflow.signals import SIGNALS
from dataflow.tasks import StepContext

_PLACES = {
    "document": ("documents", "documents"),
    "scan": ("scan", "signals"),
    "language": ("language", "signals"),
    "reward": ("reward", "signals"),
    "images": ("images", "signals"),
    "captions": ("images", "signals"),
    "image_reward": ("image_reward", "signals"),
}
"""By producer: the role of the task's inputs, and that of their output."""


def signals_role(partition: str) -> str:
    """The role of ``repetition``'s output that is row-aligned with a partition's documents."""
    return f"signals.{partition}"


def join_signals(context: StepContext, columns: Sequence[str], position: int = 0) -> pa.Table:
    """The named signal and document columns of one partition, row-aligned, in that order.

    ``position`` is the partition's place among the task's inputs ``documents``, ``scan``,
    ``language``, ``reward``, ``images`` and ``image_reward``; ``repetition`` is one for all, and
    knows nothing of a partition without images. Only the columns named are read; text never is.
    """
    by_place: dict[tuple[str, str], list[str]] = {}
    found: dict[str, Any] = {}
    for name in columns:
        producer = SIGNALS[name].producer
        if producer == "repetition":
            found[name] = _repetition(context, name, position)
        elif producer == "preference":
            documents = context.inputs("documents")[position]
            found[name] = gaps(context.read_table(documents, "documents", ["metadata"])["metadata"])
        else:
            by_place.setdefault(_PLACES[producer], []).append(name)
    for (role, output), wanted in by_place.items():
        table = context.read_table(context.inputs(role)[position], output, wanted)
        found.update({name: table[name] for name in wanted})
    return pa.table({name: found[name] for name in columns})


def _repetition(context: StepContext, name: str, position: int) -> Any:
    documents = context.inputs("documents")[position]
    counted, role = context.input("repetition"), signals_role(documents.name)
    if role not in counted.outputs:
        return pa.nulls(documents.stats["read"], SIGNALS[name].type)
    return context.read_table(counted, role, [name])[name]
