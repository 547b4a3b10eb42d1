"""The tasks of a recipe's `reward`: scores of texts, and what rules on them do to categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from blake3 import blake3

from dataflow.imagetasks import survivor_producers
from dataflow.recipe import Recipe
from dataflow.recipe.reward_checks import DEFAULT
from dataflow.signals import SIGNALS
from dataflow.tasks import Task
from quality.rules import Rule
from quality.signals import Producer

PRODUCER: Producer = "reward"


@dataclass(frozen=True)
class Scorer:
    """Who scores: ``name`` is what tables call it, a student with its version or the scorer of a
    file of scores; ``digest`` that of the file of scores. ``local`` is where the files lie."""

    name: str
    digest: str | None
    local: dict[str, Any]


def scorer_of(recipe: Recipe) -> Scorer | None:
    """The scorer that a recipe names; None where it names none."""
    if recipe.reward is None:
        return None
    if recipe.reward.scores is not None:
        path = _absolute(recipe, recipe.reward.scores)
        digest = blake3()
        digest.update_mmap(path)
        # The recipe's check has read the file: it names its scorer.
        name = pq.read_schema(path).metadata[b"leyden.scorer"].decode()
        return Scorer(name, str(digest.hexdigest()), {"scores": path})
    # It compiles kernels: a recipe without a student need not wait for that.
    from quality.reward.scores_file import student_scorer
    from quality.reward.student import load_student

    assert recipe.reward.student is not None, "the recipe's check lets exactly one through"
    named = recipe.reward.student
    file = None if named == DEFAULT else _absolute(recipe, named)
    student = load_student(None if file is None else Path(file))
    return Scorer(student_scorer("linear", student.version), None, {"student": file})


def _absolute(recipe: Recipe, path: str) -> str:
    return str(Path(recipe.resolve(path)).resolve())


def reward_task(scorer: Scorer, read: Task, scan: Task) -> Task:
    """``reward`` for one partition. The scorer is in its key: a run never mixes two."""
    by_student = scorer.digest is None
    return Task(
        "reward",
        read.name,
        {"scorer": scorer.name, "scores": scorer.digest},
        {"documents": (read,), **({"scan": (scan,)} if by_student else {})},
        local=scorer.local,
        work_bytes=read.work_bytes if by_student else read.work_bytes // 8,
    )


def reward_rules(rules: Sequence[Rule]) -> list[int]:
    """The numbers of the rules that name these signals."""
    return [
        number
        for number, rule in enumerate(rules)
        if any(SIGNALS[name].producer == PRODUCER for name in rule.columns)
    ]


def ordered_by_reward(recipe: Recipe) -> bool:
    """Whether survivor terms name these signals."""
    return PRODUCER in survivor_producers(recipe)


def categories_task(
    recipe: Recipe, sources: Sequence[str], rewards: Sequence[Task], decides: Sequence[Task]
) -> Task:
    """``categories`` over the whole run; ``sources`` of the partitions, in their order."""
    numbers = {name: reward_rules(recipe.rules_of(name)) for name in dict.fromkeys(sources)}
    return Task(
        "categories",
        "all",
        {"sources": list(sources), "rules": numbers},
        {"reward": tuple(rewards), "decide": tuple(decides)},
    )
