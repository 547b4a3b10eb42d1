"""The tasks that only a corpus with images has: what is to be known of them, and who asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dataflow.recipe import Recipe
from dataflow.recipe.expressions import parse_term
from dataflow.signals import SIGNALS
from dataflow.tasks import Task
from quality.language import model_digest
from quality.signals import Producer

IMAGE_PRODUCERS: frozenset[Producer] = frozenset({"images", "captions"})
"""What the step ``images`` measures."""

REPETITION: Producer = "repetition"


def survivor_producers(recipe: Recipe) -> set[Producer]:
    """Who measures what the survivor terms name."""
    types = {signal.name: signal.type for signal in SIGNALS.values()}
    names = {name for term in recipe.dedup.survivor for name in parse_term(term, types).columns}
    return {SIGNALS[name].producer for name in names}


def named_producers(recipe: Recipe) -> dict[str, set[Producer]]:
    """By source, who measures what its rules and the survivor terms name."""
    survivor = survivor_producers(recipe)
    return {
        source.name: survivor
        | {SIGNALS[name].producer for rule in recipe.rules_of(source.name) for name in rule.columns}
        for source in recipe.sources
    }


def images_task(read: Task) -> Task:
    """``images`` for one partition."""
    return Task(
        "images",
        read.name,
        {"model": model_digest()},
        {"documents": (read,)},
        work_bytes=read.work_bytes,
    )


def alike_task(reads: Sequence[Task], memory_bytes: int) -> Task:
    """``alike`` over the whole run."""
    return Task(
        "alike",
        "all",
        {},
        {"documents": tuple(reads)},
        local={"memory_bytes": memory_bytes},
        work_bytes=sum(read.work_bytes for read in reads) // 8,
    )


def repetition_task(reads: Sequence[Task], alike: Task) -> Task:
    """``repetition`` over the whole run."""
    return Task("repetition", "all", {}, {"documents": tuple(reads), "alike": (alike,)})


def image_bases(
    parts: Sequence[str], rows: Mapping[str, int], pictured: Collection[str]
) -> list[int | None]:
    """Where each partition's rows begin in arrays over those that have images; None without."""
    begins: list[int | None] = []
    total = 0
    for name in parts:
        begins.append(total if name in pictured else None)
        total += rows[name] if name in pictured else 0
    return begins
