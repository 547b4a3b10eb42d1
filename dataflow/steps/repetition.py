"""``repetition``: how many captions an image has in the run, and images a caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from dataflow.journal import Record
from dataflow.lists import flat_list
from dataflow.ranks import IMAGES
from dataflow.steps.columns import digest_words
from dataflow.steps.signals import signals_role
from dataflow.tasks import Step, StepContext
from vl_data.captions import caption_keys, normalised, template_keys
from vl_data.repetition import Pairs, repetition_signals
from vl_data.signals import schema

SCHEMA = schema("repetition").with_metadata(
    {"leyden.table": "signals/repetition", "leyden.version": "1"}
)

_COLUMNS = [f"images.list.element.{name}" for name in ("digest", "alt", "caption")]


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/repetition`` for each partition that has images. Memory: some 100 bytes an
    image."""
    records = [record for record in context.inputs("documents") if record.stats["images"]]
    known = IMAGES.open(context, context.input("alike"))
    digests = known.read("digest").reshape(-1).view("S32")
    images = digests, known.read("representative")
    rows = [record.stats["read"] for record in records]
    parts: list[Pairs] = []
    base = 0
    for record, count in zip(records, rows, strict=True):
        parts += list(_pairs(context, record, base, images))
        base += count
    pairs = _joined(parts)
    found = repetition_signals(base, pairs)
    base = 0
    for record, count in zip(records, rows, strict=True):
        role = signals_role(record.name)
        with context.create_table(
            role, "signals/repetition", SCHEMA, kind="signals", name=record.name
        ) as sink:
            sink.write(found.slice(base, count))
        base += count
    return {"rows": base, "images": len(pairs.image)}


_NO_PAIRS = Pairs(
    np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint64), np.zeros(0, np.uint64)
)


def _joined(parts: Sequence[Pairs]) -> Pairs:
    parts = [_NO_PAIRS, *parts]
    return Pairs(
        np.concatenate([part.document for part in parts]),
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.caption for part in parts]),
        np.concatenate([part.template for part in parts]),
    )


def _pairs(
    context: StepContext, record: Record, base: int, images: tuple[np.ndarray, np.ndarray]
) -> Iterator[Pairs]:
    """The images of a partition's documents, whose rows begin at ``base``, and their captions."""
    digests, representative = images
    for group in context.read_groups(record, "documents", _COLUMNS):
        found, offsets = flat_list(group["images"])
        row = np.repeat(np.arange(base, base + group.num_rows), np.diff(offsets))
        base += group.num_rows
        if not len(found):
            continue
        place = np.searchsorted(digests, digest_words(found.field("digest")))
        told = pc.coalesce(found.field("caption"), found.field("alt"))
        plain = normalised(pc.fill_null(told, ""))
        yield Pairs(row, representative[place], caption_keys(plain), template_keys(plain))


STEP = Step("repetition", run)
