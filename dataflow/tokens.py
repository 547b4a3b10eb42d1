"""The tasks that give a corpus its tokens: the tokenizer, and one token shard per content shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataflow.graph import ShardTasks, package_versions
from dataflow.indexplaces import INDEX_FOLDER, UNTIERED_FOLDER
from dataflow.recipe import Recipe
from dataflow.steps.split import NAMES, TRAIN
from dataflow.steps.tokenizer import peek_hash
from dataflow.tasks import Task

PACKAGES = ("tiktoken", "tokenizers")


def use_tokenizer(path: str | Path) -> Task:
    """The task that takes a given tokenizer into the run folder."""
    digest = peek_hash(path)
    return Task(
        "tokenizer", "tokenizer", {"train": None, "hash": digest}, local={"path": str(path)}
    )


def tokenizer_task(recipe: Recipe, packs: Sequence[Task]) -> Task:
    """The tokenizer that the recipe names, or the training of one on the train shards."""
    wanted = recipe.tokenizer
    if wanted.train is None:
        assert wanted.use is not None, "the recipe's check lets exactly one through"
        return use_tokenizer(recipe.resolve(wanted.use))
    train = tuple(task for task in packs if task.params["split"] == TRAIN)
    params: dict[str, Any] = {
        "train": wanted.train.model_dump(),
        "packages": package_versions(PACKAGES),
    }
    work = min(wanted.train.sample_bytes, sum(task.work_bytes for task in train))
    return Task("tokenizer", "tokenizer", params, {"train": train}, work_bytes=work)


def tokenize_task(
    name: str,
    split: str,
    tokenizer: Task,
    inputs: dict[str, tuple[Task, ...]],
    work_bytes: int,
    *,
    tiered: bool,
) -> Task:
    """``tokenize`` for one shard; ``inputs`` has ``content``, and ``index`` for a built run.

    ``tiered``: the run has tiers, and its index is that of ``tier``.
    """
    return Task(
        "tokenize",
        name,
        {"split": split, "packages": package_versions(PACKAGES)},
        {"tokenizer": (tokenizer,), **inputs},
        local={"index": UNTIERED_FOLDER if tiered else INDEX_FOLDER},
        work_bytes=work_bytes,
    )


def energon_tasks(
    splits: Sequence[str], packs: Sequence[Task], tokenized: Sequence[Task]
) -> list[Task]:
    """``energon`` for both shard sets; ``splits`` of the shards, in their order."""
    return [
        Task("energon", name, {"splits": list(splits)}, {"shards": tuple(tasks)})
        for name, tasks in (("content", packs), ("tokens", tokenized))
    ]


def token_tasks(recipe: Recipe, packs: Sequence[Task]) -> tuple[list[ShardTasks], Task]:
    """``tokenize`` for every shard of a build, and the tokenizer's task."""
    tokenizer = tokenizer_task(recipe, packs)
    shards = [
        ShardTasks(
            pack.name,
            pack,
            tokenize_task(
                pack.name,
                NAMES[pack.params["split"]],
                tokenizer,
                {"content": (pack,)},
                pack.work_bytes,
                tiered=recipe.tiers is not None,
            ),
        )
        for pack in packs
    ]
    return shards, tokenizer
