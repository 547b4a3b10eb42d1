"""``shingles``: the sets of word n-grams of a partition's candidates, for exact comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.ranks import ROWS
from dataflow.sequences import mix_sequences, read_sequences
from dataflow.steps.columns import text_buffers
from dataflow.tasks import Step, StepContext
from dedup import write_shingles
from kernels.text import word_hashes


def _batches(context: StepContext) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ranks, word hashes, offsets) of the candidates of each row group."""
    base, rows = context.params["base"], context.params["rows"]
    ranks = ROWS.open(context, context.input("order")).read("rank", base, base + rows)
    candidates = context.read_arrays(context.input("candidates"), "candidates")["rank"].to_numpy()
    # Candidates are sorted and many: they are searched where they lie. None is ``DROPPED``.
    places = np.searchsorted(candidates, ranks)
    chosen = places < len(candidates)
    chosen[chosen] = candidates[places[chosen]] == ranks[chosen]
    sequences = read_sequences(context, context.params["sequences"], rows)
    position = 0
    for table in context.read_groups(context.input("documents"), "documents", ["text"]):
        mine = chosen[position : position + table.num_rows]
        rank = ranks[position : position + table.num_rows][mine]
        here = None if sequences is None else sequences[position : position + len(mine)][mine]
        position += table.num_rows
        if not mine.any():
            continue
        data, offsets = text_buffers(table.filter(pa.array(mine))["text"])
        words, word_offsets = word_hashes(data, offsets)
        if here is not None:
            words = mix_sequences(words, np.repeat(here, np.diff(word_offsets)))
        yield rank, words, word_offsets


def run(context: StepContext) -> dict[str, Any]:
    """Write one shingle file."""
    file = write_shingles(context.scratch / "sets", _batches(context), context.params["ngram"])
    context.adopt("sets", file.path)
    return {"documents": file.documents, "elements": file.elements}


STEP = Step("shingles", run)
