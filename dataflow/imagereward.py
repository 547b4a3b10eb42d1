"""The tasks of a recipe's ``image_reward``: what captions are worth, with a model's help or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataflow.imagetasks import alike_task, named_producers, repetition_task, survivor_producers
from dataflow.recipe import Recipe
from dataflow.tasks import Task
from quality.signals import Producer
from vl_data.reward.scores_file import read_scorer, scores_digest

PRODUCER: Producer = "image_reward"


def image_reward_tasks(
    recipe: Recipe, reads: Sequence[Task], memory_bytes: int
) -> Sequence[Task | None]:
    """``image_reward`` for each of ``reads``; None each where the recipe does not ask for it.

    A task's key has the digest of the scores, so that a run's never mix two files of them.
    """
    wanted = recipe.image_reward
    if wanted is None:
        return [None] * len(reads)
    scorer, digest, local = None, None, {}
    if wanted.scores is not None:
        path = str(Path(recipe.resolve(wanted.scores)).resolve())
        scorer, digest, local = read_scorer(path), scores_digest(path), {"scores": path}
    words = Task("caption_words", "all", {}, {"documents": tuple(reads)})
    repetition = repetition_task(reads, alike_task(reads, memory_bytes))
    return [
        Task(
            "image_reward",
            read.name,
            {"scorer": scorer, "scores": digest},
            {"documents": (read,), "words": (words,), "repetition": (repetition,)},
            local=local,
            work_bytes=read.work_bytes // 8,
        )
        for read in reads
    ]


def decided_by(recipe: Recipe, source: str) -> bool:
    """Whether a source's rules name these signals: only then do its decisions wait for them."""
    return PRODUCER in named_producers(recipe)[source]


def ordered_by(recipe: Recipe) -> bool:
    """Whether survivor terms name these signals."""
    return PRODUCER in survivor_producers(recipe)
