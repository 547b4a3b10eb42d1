"""``shingles``: the sets of word n-grams of a partition's candidates, for exact comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.steps.columns import text_buffers
from dataflow.steps.order import DROPPED
from dataflow.tasks import Step, StepContext
from dedup import write_shingles
from kernels.text import word_hashes


def _batches(context: StepContext) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ranks, word hashes, offsets) of the candidates of each row group."""
    base, rows = context.params["base"], context.params["rows"]
    ranks = context.read_arrays(context.input("order"), "rows")["rank"].to_numpy()
    ranks = ranks[base : base + rows]
    candidates = context.read_arrays(context.input("candidates"), "candidates")["rank"].to_numpy()
    chosen = (ranks != DROPPED) & np.isin(ranks, candidates, assume_unique=False)
    position = 0
    for table in context.read_groups(context.input("documents"), "documents", ["text"]):
        mine = chosen[position : position + table.num_rows]
        rank = ranks[position : position + table.num_rows][mine]
        position += table.num_rows
        if not mine.any():
            continue
        data, offsets = text_buffers(table.filter(pa.array(mine))["text"])
        words, word_offsets = word_hashes(data, offsets)
        yield rank, words, word_offsets


def run(context: StepContext) -> dict[str, Any]:
    """Write one shingle file."""
    file = write_shingles(context.scratch / "sets", _batches(context), context.params["ngram"])
    context.adopt("sets", file.path)
    return {"documents": file.documents, "elements": file.elements}


STEP = Step("shingles", run)
