"""``reward``: what every text is worth, scored by a student, or taken from a file of scores."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.steps.columns import id_bytes, text_lengths
from dataflow.tasks import Step, StepContext
from quality.reward.scores_file import SCHEMA as SCORES
from quality.reward.scores_file import student_scorer
from quality.reward.student import load_student
from quality.signals import schema

SIGNALS = schema("reward")
_ROWS = 1 << 16
"""Rows of a file of scores that are held at a time."""


class ScorerChanged(Exception):
    """A student or a file of scores is another than when the build began."""


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/reward`` row-aligned with the documents. Its metadata names the scorer.

    Memory: a row group; with a file of scores also 40 bytes a document of the partition.
    """
    scorer = context.params["scorer"]
    metadata = {
        "leyden.table": "signals/reward",
        "leyden.version": "1",
        "leyden.scorer": scorer,
    }
    tagged = SIGNALS.with_metadata(metadata)
    scored = text_bytes = 0
    tables = _by_student if context.params["scores"] is None else _from_file
    with context.create_table("signals", "signals/reward", tagged, kind="signals") as sink:
        for table, length in tables(context):
            sink.write(table)
            scored += table.num_rows - table["reward.depth"].null_count
            text_bytes += length
        rows = sink.rows
    return {"rows": rows, "scored": scored, "text_bytes": text_bytes, "scorer": scorer}


def _by_student(context: StepContext) -> Iterator[tuple[pa.Table, int]]:
    """The scores of each row group of documents, and the bytes of their texts."""
    path = context.local["student"]
    student = load_student(None if path is None else Path(path))
    found = student_scorer("linear", student.version)
    if found != context.params["scorer"]:
        raise ScorerChanged(
            f"{path or 'the shipped student'}: found {found}, expected "
            f"{context.params['scorer']}, which it was when the build began; build again"
        )
    wanted = list(student.model.signals)
    signals = context.read_table(context.input("scan"), "signals", wanted)
    done = 0
    for group in context.read_groups(context.input("documents"), "documents", ["text"]):
        mine = signals.slice(done, group.num_rows)
        scores = student.score(group["text"], {name: mine[name].to_numpy() for name in wanted})
        done += group.num_rows
        yield scores, int(text_lengths(group["text"]).sum())


def _from_file(context: StepContext) -> Iterator[tuple[pa.Table, int]]:
    """The scores of all documents by their content; nulls where the file has none."""
    path = Path(context.local["scores"])
    state = path.stat()
    if (found := _digest(path, state.st_size, state.st_mtime_ns)) != context.params["scores"]:
        raise ScorerChanged(
            f"{path}: found BLAKE3 {found[:16]}…, expected {context.params['scores'][:16]}… as "
            "when the build began; leave the file alone while it runs, and build again"
        )
    documents = context.read_table(context.input("documents"), "documents", ["content_id"])
    ids = np.ascontiguousarray(id_bytes(documents["content_id"])).view("S16")[:, 0]
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    places, parts, rows = [], [SCORES.empty_table().select(SIGNALS.names)], 0
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(_ROWS, use_threads=False):
        if not batch.num_rows:
            continue
        # Both ascend: what a batch may have of the partition lies in one stretch.
        held = np.ascontiguousarray(id_bytes(batch["content_id"])).view("S16")[:, 0]
        low = int(np.searchsorted(ordered, held[0], side="left"))
        high = int(np.searchsorted(ordered, held[-1], side="right"))
        at = np.searchsorted(held, ordered[low:high])
        has = held[at] == ordered[low:high]
        places.append(order[low:high][has])
        parts.append(pa.table(batch).take(pa.array(at[has])).select(SIGNALS.names))
        rows += int(has.sum())
    scores = pa.concat_tables(parts)
    taken = np.full(len(ids), -1, np.int64)
    if rows:
        taken[np.concatenate(places)] = np.arange(rows)
    yield scores.take(pa.array(taken, mask=taken < 0)), 0


@functools.lru_cache(1)
def _digest(path: Path, _size: int, _changed_ns: int) -> str:
    """BLAKE3 of a file of scores, once a process for as long as the file keeps size and time."""
    digest = blake3.blake3()
    digest.update_mmap(path)
    return str(digest.hexdigest())


STEP = Step("reward", run)
