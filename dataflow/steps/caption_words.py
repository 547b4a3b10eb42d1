"""``caption_words``: what a word of captions tells, by how few captions of the run have it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dataflow.tasks import Step, StepContext
from vl_data.reward.caption_words import BUCKETS, count_texts, distinct_words, worths
from vl_data.reward.pairs import pairs_of

_COLUMNS = [f"images.list.element.{name}" for name in ("digest", "alt", "caption")]


def run(context: StepContext) -> dict[str, Any]:
    """Write ``worths``: int32 of each bucket of words. Memory: 32 MiB, and a row group."""
    counts = np.zeros(BUCKETS, np.int64)
    captions = 0
    for record in context.inputs("documents"):
        if not record.stats["images"]:
            continue
        for group in context.read_groups(record, "documents", _COLUMNS):
            pairs = pairs_of(group)
            count_texts(distinct_words(pairs.caption), counts)
            captions += len(pairs)
    context.write_arrays("worths", {"worth": worths(counts, captions)})
    return {"captions": captions, "buckets": int(np.count_nonzero(counts))}


STEP = Step("caption_words", run)
