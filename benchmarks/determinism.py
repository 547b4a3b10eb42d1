"""One recipe built in many ways must give one logical root, and account for every document."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.builds import Victim, build, build_through_kills, verify

WriteRecipe = Callable[[Path, int], Path]
"""Writes the recipe with a given partition size (bytes) into a folder; returns its path."""


@dataclass(frozen=True)
class Variation:
    """A way to build: how many workers, which partition size, who is killed on the way."""

    name: str
    workers: int = 2
    partition_bytes: int = 8 << 20
    kills: tuple[Victim, ...] = ()


VARIATIONS = (
    Variation("2 workers"),
    Variation("1 worker", workers=1),
    Variation("in process", workers=0),
    Variation("small partitions", partition_bytes=1 << 20),
    Variation("one partition", partition_bytes=1 << 34),
    Variation("another folder"),
    Variation("driver killed", kills=("driver",)),
    Variation("driver killed three times", kills=("driver", "driver", "driver")),
    Variation("worker killed", kills=("worker",)),
    Variation("workers and driver killed", kills=("worker", "driver", "worker")),
)


@dataclass(frozen=True)
class Outcome:
    """What a variation gave: its root and counts, and how many kills met a living process."""

    variation: Variation
    root: str
    counts: dict[str, Any]
    kills: int


def counts(verdict: dict[str, Any]) -> dict[str, Any]:
    """The counts that may not depend on how a run was built."""
    return {name: verdict[name] for name in ("records", "documents", "bytes", "sources")}


def conserved(verdict: dict[str, Any]) -> bool:
    """Whether the three conservation laws hold for the whole run and for each source."""
    return all(_laws(part) for part in [verdict, *verdict["sources"].values()])


def _laws(part: dict[str, Any]) -> bool:
    records, documents, sizes = part["records"], part["documents"], part["bytes"]
    return bool(
        records["seen"] == records["unreadable"] + records["read"]
        and documents["read"] == documents["kept"] + documents["dropped"]
        and sizes["read"] + sizes["inserted"] == sizes["kept"] + sizes["dropped"] + sizes["removed"]
    )


def build_variations(
    write_recipe: WriteRecipe,
    folder: Path,
    variations: Sequence[Variation] = VARIATIONS,
    *,
    seed: int = 0,
    log: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Build each variation into a folder of its own under ``folder``.

    Kill moments are drawn from ``seed`` and from how long the builds without kills took, so the
    first variations should have none.
    """
    outcomes = []
    rng = random.Random(seed)
    span = 0.0
    for i, variation in enumerate(variations):
        place = folder / f"{i:02d}-{variation.name.replace(' ', '-')}"
        place.mkdir(parents=True, exist_ok=True)
        recipe = write_recipe(place, variation.partition_bytes)
        run = place / "run"
        landed = 0
        if variation.kills:
            landed = build_through_kills(recipe, run, variation.workers, variation.kills, rng, span)
        else:
            begin = time.perf_counter()
            build(recipe, run, variation.workers)
            # The first build may compile; the shortest one says how long the others take.
            taken = time.perf_counter() - begin
            span = min(span, taken) if span else taken
        verdict = verify(run)
        if not conserved(verdict):
            raise AssertionError(f"{variation.name}: a conservation law is broken: {verdict}")
        outcomes.append(Outcome(variation, verdict["root_hash"], counts(verdict), landed))
        log(f"{variation.name}: {verdict['root_hash']}, {landed} kills")
    return outcomes
