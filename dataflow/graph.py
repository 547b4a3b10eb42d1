"""The tasks that a recipe comes to. Nothing here runs anything.

The graph is built in three parts, because how many shards there are is known only once it is known
what is kept: up to ``split``; from ``settle`` to ``tokenize``; and the lookup over it all.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataflow.imagereward import decided_by, image_reward_tasks, ordered_by
from dataflow.imagetasks import (
    IMAGE_PRODUCERS,
    REPETITION,
    alike_task,
    image_bases,
    images_task,
    named_producers,
    repetition_task,
    survivor_producers,
)
from dataflow.journal import Record
from dataflow.recipe import Recipe
from dataflow.rewardtasks import (
    Scorer,
    ordered_by_reward,
    reward_rules,
    reward_task,
    scorer_of,
)
from dataflow.shards.sets import SETS
from dataflow.sources.spec import Partition
from dataflow.steps.split import NAMES
from dataflow.steps.tokenizer import peek_hash
from dataflow.tasks import Task
from dataflow.tiertasks import TierTasks, tier_tasks
from quality.language import model_digest

DEDUP_MEMORY = 128 << 20
"""Bytes that one dedup task sorts at a time."""

ORDER_MEMORY = 32 << 20
"""Bytes of each of the sorts of ``order`` and ``lookup``; two are under way at once."""

READ_PACKAGES = (
    "charset-normalizer",
    "fastwarc",
    "lxml",
    "pillow",
    "pypdfium2",
    "resiliparse",
    "selectolax",
    "trafilatura",
    "zstandard",
)


@functools.cache
def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; packages that are absent are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class PartitionTasks:
    """The tasks of one partition up to its decisions; ``images`` where it may have any,
    ``reward`` and ``image_reward`` where the recipe asks for them."""

    name: str
    source: str
    read: Task
    scan: Task
    language: Task
    decide: Task
    images: Task | None = None
    image_reward: Task | None = None
    reward: Task | None = None

    @property
    def all(self) -> list[Task]:
        """All of them."""
        found = [self.read, self.scan, self.language, self.decide]
        others = (self.images, self.image_reward, self.reward)
        return [*found, *(task for task in others if task is not None)]


def partition_tasks(recipe: Recipe, partitions: Sequence[Partition]) -> list[PartitionTasks]:
    """``read`` to ``decide`` for each partition.

    Where rules name signals of images, those are measured before it is known whether there are any;
    ``with_images`` adds them for the others.
    """
    counter = None
    if any(source.fit is not None for source in recipe.sources):
        assert recipe.tokenizer.use is not None, "the recipe's check wants one where there is a fit"
        counter = peek_hash(recipe.resolve(recipe.tokenizer.use))
    reads = [_read(recipe, partition, counter) for partition in partitions]
    named = named_producers(recipe)
    images = [
        images_task(read) if named[part.source] & IMAGE_PRODUCERS else None
        for part, read in zip(partitions, reads, strict=True)
    ]
    repetition: tuple[Task, ...] = ()
    if any(REPETITION in producers for producers in named.values()):
        repetition = (repetition_task(reads, alike_task(reads, DEDUP_MEMORY)),)
    worth = image_reward_tasks(recipe, reads, DEDUP_MEMORY)
    scorer = scorer_of(recipe)
    return [
        _partition_tasks(
            recipe,
            part,
            read,
            signals,
            repetition if REPETITION in named[part.source] else (),
            image_reward,
            scorer,
        )
        for part, read, signals, image_reward in zip(partitions, reads, images, worth, strict=True)
    ]


def _read(recipe: Recipe, partition: Partition, counter: str | None) -> Task:
    """``counter``: the hash of the tokenizer by which the sources with a ``fit`` count."""
    spec = recipe.spec(partition.source)
    return Task(
        "read",
        partition.name,
        {
            "reading": spec.reading(),
            **({} if spec.fit is None else {"counter": counter}),
            "fingerprint": partition.fingerprint,
            "packages": package_versions(READ_PACKAGES),
            "python": platform.python_version(),
        },
        local={"spec": spec.to_json(), "partition": partition.to_json()},
        work_bytes=partition.bytes,
    )


def _partition_tasks(
    recipe: Recipe,
    partition: Partition,
    read: Task,
    images: Task | None,
    repetition: tuple[Task, ...],
    image_reward: Task | None,
    scorer: Scorer | None,
) -> PartitionTasks:
    near = recipe.dedup.near
    minhash = {"ngram": near.ngram, "bands": near.bands, "rows": near.rows, "seed": near.seed}
    documents = {"documents": (read,)}
    scan = Task(
        "scan",
        partition.name,
        {"near": minhash if near.enabled else None},
        documents,
        work_bytes=partition.bytes,
    )
    language = Task(
        "language",
        partition.name,
        {
            "enabled": recipe.language.enabled,
            "model": model_digest() if recipe.language.enabled else None,
        },
        documents,
        work_bytes=partition.bytes,
    )
    reward = None if scorer is None else reward_task(scorer, read, scan)
    rules = recipe.rules_of(partition.source)
    decide = Task(
        "decide",
        partition.name,
        {"rules": [rule.to_json() for rule in rules]},
        {
            "documents": (read,),
            "scan": (scan,),
            "language": (language,),
            "images": () if images is None else (images,),
            "repetition": repetition,
            **(
                {"image_reward": (image_reward,)}
                if image_reward is not None and decided_by(recipe, partition.source)
                else {}
            ),
            **({"reward": (reward,)} if reward is not None and reward_rules(rules) else {}),
        },
        work_bytes=partition.bytes,
    )
    return PartitionTasks(
        partition.name,
        partition.source,
        read,
        scan,
        language,
        decide,
        images,
        image_reward,
        reward,
    )


@dataclass(frozen=True)
class GlobalTasks:
    """The tasks over all partitions: who survives, and on which side of the split."""

    order: Task
    near: Task
    split: Task


def global_tasks(
    recipe: Recipe,
    parts: Sequence[PartitionTasks],
    rows: Mapping[str, int],
    previous: Mapping[str, Any] | None,
    pictured: Collection[str] = (),
) -> GlobalTasks:
    """``order`` to ``split``.

    ``rows``: documents of each partition by name; ``pictured``: names of those that have images.
    """
    priority = {source.name: -source.priority for source in recipe.sources}
    documents = tuple(part.read for part in parts)
    scans = tuple(part.scan for part in parts)
    work = sum(part.read.work_bytes for part in parts)
    order = Task(
        "order",
        "all",
        {
            "survivor": list(recipe.dedup.survivor),
            "priorities": [priority[part.source] for part in parts],
            "exact": recipe.dedup.exact,
        },
        {
            "documents": documents,
            "decide": tuple(part.decide for part in parts),
            "scan": scans,
            "language": tuple(part.language for part in parts),
            **_image_signals(recipe, parts),
            **({"reward": rewards_of(parts)} if ordered_by_reward(recipe) else {}),
        },
        local={"memory_bytes": ORDER_MEMORY},
    )
    near_recipe = recipe.dedup.near
    inputs: dict[str, tuple[Task, ...]] = {"order": (order,)}
    memory = {"memory_bytes": DEDUP_MEMORY}
    if near_recipe.enabled:
        alike = (alike_task(documents, DEDUP_MEMORY),) if pictured else ()
        begins = image_bases([part.name for part in parts], rows, pictured)
        buckets = tuple(
            Task(
                "buckets",
                f"band-{band:04d}",
                {"band": band, "sequences": begins},
                {"order": (order,), "scan": scans, "alike": alike},
                local=memory,
            )
            for band in range(near_recipe.bands)
        )
        candidates = Task("candidates", "all", {}, {"order": (order,), "buckets": buckets})
        shingles = tuple(
            Task(
                "shingles",
                part.name,
                {
                    "base": base,
                    "rows": rows[part.name],
                    "ngram": near_recipe.ngram,
                    "sequences": begin,
                },
                {
                    "documents": (part.read,),
                    "order": (order,),
                    "candidates": (candidates,),
                    "alike": alike if begin is not None else (),
                },
                work_bytes=part.read.work_bytes,
            )
            for part, base, begin in zip(parts, bases(parts, rows), begins, strict=True)
        )
        inputs |= {"buckets": buckets, "candidates": (candidates,), "shingles": shingles}
    near = Task(
        "near",
        "all",
        {"enabled": near_recipe.enabled, "threshold": str(near_recipe.threshold)},
        inputs,
        local=memory,
        work_bytes=work // 8,
    )
    with_images = [
        (part, base)
        for part, base in zip(parts, bases(parts, rows), strict=True)
        if part.name in pictured
    ]
    split = Task(
        "split",
        "all",
        {
            "held_out": recipe.split.held_out,
            "seed": recipe.split.seed,
            "previous": previous["logical_root"] if previous else None,
            "pictured": [base for _, base in with_images],
        },
        {"order": (order,), "near": (near,), "pictured": tuple(p.read for p, _ in with_images)},
        local={"previous": dict(previous) if previous else None},
    )
    return GlobalTasks(order, near, split)


def rewards_of(parts: Sequence[PartitionTasks]) -> tuple[Task, ...]:
    """``reward`` of each partition; none where the recipe does not ask for it."""
    return tuple(part.reward for part in parts if part.reward is not None)


def bases(parts: Sequence[PartitionTasks], rows: Mapping[str, int]) -> list[int]:
    """Where each partition's rows begin in arrays over all rows."""
    starts, total = [], 0
    for part in parts:
        starts.append(total)
        total += rows[part.name]
    return starts


def _image_signals(recipe: Recipe, parts: Sequence[PartitionTasks]) -> dict[str, tuple[Task, ...]]:
    """The signals of images that survivor terms name: then every partition has them."""
    named = survivor_producers(recipe)
    found: dict[str, tuple[Task, ...]] = {}
    if named & IMAGE_PRODUCERS:
        found["images"] = tuple(part.images for part in parts if part.images is not None)
    if REPETITION in named:
        found["repetition"] = (_repetition(parts),)
    if ordered_by(recipe):
        found["image_reward"] = tuple(p.image_reward for p in parts if p.image_reward is not None)
    return found


def with_images(parts: Sequence[PartitionTasks], pictured: Collection[str]) -> list[PartitionTasks]:
    """``parts`` with signals of images for those that turned out to have any."""
    return [
        replace(part, images=images_task(part.read))
        if part.images is None and part.name in pictured
        else part
        for part in parts
    ]


def repetition_of(
    recipe: Recipe, parts: Sequence[PartitionTasks], pictured: Collection[str]
) -> Task | None:
    """``repetition`` over the whole run; None where there are no images and nobody names it."""
    named = any(REPETITION in producers for producers in named_producers(recipe).values())
    return _repetition(parts) if named or pictured else None


def _repetition(parts: Sequence[PartitionTasks]) -> Task:
    reads = [part.read for part in parts]
    return repetition_task(reads, alike_task(reads, DEDUP_MEMORY))


@dataclass(frozen=True)
class ShardTasks:
    """The tasks of one shard."""

    name: str
    pack: Task
    tokenize: Task


def shard_counts(kept_bytes: Sequence[int], shard_bytes: int) -> list[int]:
    """Shards of each set: enough for ``shard_bytes`` of text and images each on average."""
    return [-(-size // shard_bytes) for size in kept_bytes]


def settle_tasks(
    recipe: Recipe,
    parts: Sequence[PartitionTasks],
    rows: Mapping[str, int],
    tasks: GlobalTasks,
    shards: Sequence[int],
) -> tuple[Task, ...]:
    """``settle`` for each partition."""
    return tuple(
        Task(
            "settle",
            part.name,
            {
                "source": part.source,
                "base": base,
                "rows": rows[part.name],
                "rules": [rule.name for rule in recipe.rules_of(part.source)],
                "near_threshold": recipe.dedup.near.threshold,
                "cleaners": [_cleaner(step) for step in recipe.clean_of(part.source)],
                "shards": list(shards),
                "shard_seed": recipe.pack.seed,
            },
            {
                "documents": (part.read,),
                "language": (part.language,),
                "decide": (part.decide,),
                "order": (tasks.order,),
                "near": (tasks.near,),
                "split": (tasks.split,),
            },
            work_bytes=part.read.work_bytes,
        )
        for part, base in zip(parts, bases(parts, rows), strict=True)
    )


def _cleaner(step: Any) -> dict[str, Any]:
    options = {}
    if step.use == "c4.lines":
        options = {"terminal_punctuation": step.terminal_punctuation, "min_words": step.min_words}
    return {"name": step.use, "options": options}


def pack_tasks(
    recipe: Recipe, settled: tuple[Task, ...], shards: Sequence[int], kept_bytes: Sequence[int]
) -> list[Task]:
    """``pack`` for each shard, set after set."""
    return [
        Task(
            "pack",
            SETS[code].shard(number),
            {
                "set": code,
                "split": NAMES.index(SETS[code].split),
                "shard": number,
                "seed": recipe.pack.seed,
                "sample_bytes": recipe.pack.sample_bytes,
            },
            {"settle": settled},
            local={"text_bytes": kept_bytes[code] // count},
            work_bytes=kept_bytes[code] // count,
        )
        for code, count in enumerate(shards)
        for number in range(count)
    ]


def lookup_task(
    parts: Sequence[PartitionTasks], settled: Sequence[Task], shards: Sequence[ShardTasks]
) -> Task:
    """``lookup`` over the whole run."""
    return Task(
        "lookup",
        "lookup",
        {},
        {
            "documents": tuple(part.read for part in parts),
            "index": tuple(shard.tokenize for shard in shards),
        },
        local={"memory_bytes": ORDER_MEMORY},
        work_bytes=sum(task.work_bytes for task in settled) // 8,
    )


def tiers_of(
    recipe: Recipe, parts: Sequence[PartitionTasks], lookup: Task, tokenized: Sequence[Task]
) -> TierTasks | None:
    """The tasks of the recipe's tiers; None where it has none."""
    if recipe.tiers is None:
        return None
    signals = {
        "reward": rewards_of(parts),
        "image_reward": [p.image_reward for p in parts if p.image_reward is not None],
    }
    return tier_tasks(recipe.tiers, signals, len(parts), lookup, tokenized, ORDER_MEMORY)


def rows_of(records: Sequence[Record]) -> dict[str, int]:
    """Documents of each partition, out of the ``read`` records."""
    return {record.name: record.stats["read"] for record in records}


def pictured_of(records: Sequence[Record]) -> list[str]:
    """The partitions that have images, out of the ``read`` records."""
    return [record.name for record in records if record.stats["images"]]
