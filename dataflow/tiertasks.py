"""The tasks of a recipe's `tiers`: where they are cut, and each shard's index with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow.recipe.models import Tiers
from dataflow.signals import SIGNALS
from dataflow.tasks import Task


@dataclass(frozen=True)
class TierTasks:
    """``grade`` over the run, and ``tier`` for each shard, in their order."""

    grade: Task
    tiers: tuple[Task, ...]


def tier_tasks(
    wanted: Tiers,
    signals: Mapping[str, Sequence[Task]],
    partitions: int,
    lookup: Task,
    tokenized: Sequence[Task],
    memory_bytes: int,
) -> TierTasks:
    """The tasks of a run's tiers.

    Parameters
    ----------
    signals : by producer, the tasks that measure, one a partition; ``reward`` also where only
        categories are asked for
    partitions : how many there are
    lookup, tokenized : the run's side index, and its shards' tokens in their order
    """
    ways = [list(map(list, way.items())) for way in wanted.by]
    producers = {SIGNALS[name].producer for way in wanted.by for name in way} | {"reward"}
    grade = Task(
        "grade",
        "all",
        {
            "by": ways,
            "quantiles": dict(wanted.quantiles),
            "min_documents": wanted.min_documents,
            "min_tokens": wanted.min_tokens,
            "partitions": partitions,
        },
        {
            "lookup": (lookup,),
            "index": tuple(tokenized),
            **{name: tuple(signals.get(name, ())) for name in sorted(producers)},
        },
        local={"memory_bytes": memory_bytes},
    )
    tiers = tuple(
        Task("tier", task.name, {"shard": number}, {"grade": (grade,), "index": (task,)})
        for number, task in enumerate(tokenized)
    )
    return TierTasks(grade, tiers)
