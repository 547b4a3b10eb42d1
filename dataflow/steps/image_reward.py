"""``image_reward``: what the captions of every document are worth to a model that sees."""

from __future__ import annotations

import functools
from typing import Any

import pyarrow as pa

from dataflow.steps.signals import signals_role
from dataflow.tasks import Step, StepContext
from vl_data.reward.measure import COLUMNS, REPETITION, image_reward_signals
from vl_data.reward.scores_file import PairScores, ScoresError, read_scores, scores_digest
from vl_data.signals import schema

NOBODY = "nobody"
"""The scorer where there are no scores."""


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/image_reward`` row-aligned with the documents. Its metadata names the scorer.

    Memory: a row group, and the file of scores.
    """
    documents = context.input("documents")
    scorer = context.params["scorer"] or NOBODY
    metadata = {
        "leyden.table": "signals/image_reward",
        "leyden.version": "1",
        "leyden.scorer": scorer,
    }
    tagged = schema("image_reward").with_metadata(metadata)
    stats = {"rows": documents.stats["read"], "captioned": 0, "scored": 0}
    with context.create_table("signals", "signals/image_reward", tagged, kind="signals") as sink:
        if not documents.stats["images"]:
            sink.write(_nulls(tagged, documents.stats["read"]))
            return stats
        worth = context.read_arrays(context.input("words"), "worths")["worth"].to_numpy()
        scores = _scores(context)
        repetition = context.read_table(
            context.input("repetition"), signals_role(documents.name), list(REPETITION)
        )
        done = 0
        for group in context.read_groups(documents, "documents", list(COLUMNS)):
            shared = repetition.slice(done, group.num_rows)
            found = image_reward_signals(group, worth, shared, scores)
            sink.write(found)
            stats["captioned"] += group.num_rows - found["image_reward.score"].null_count
            stats["scored"] += group.num_rows - found["image_reward.gain"].null_count
            done += group.num_rows
    return stats


def _scores(context: StepContext) -> PairScores | None:
    if context.params["scorer"] is None:
        return None
    return _read(context.local["scores"], context.params["scores"])


@functools.lru_cache(1)
def _read(path: str, digest: str) -> PairScores:
    """The scores, once a process. Raises ``ScoresError`` if they are not those of the digest."""
    found = scores_digest(path)
    if found != digest:
        raise ScoresError(
            f"{path}: found BLAKE3 {found[:16]}…, expected {digest[:16]}… as when the build began; "
            "leave the file alone while it runs, and build again"
        )
    return read_scores(path)


def _nulls(wanted: pa.Schema, rows: int) -> pa.Table:
    return pa.Table.from_arrays([pa.nulls(rows, f.type) for f in wanted], schema=wanted)


STEP = Step("image_reward", run)
