"""What texts are worth: categories before and after, and quality tiers, from the run's tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from dataflow.recipe.models import Guard, Reward, Tiers
from dataflow.report.inputs import ReportInputs
from dataflow.rewardguard import lost
from quality.tiers import UNSCORED, Quantiles
from quality.vanishing import Vanishing


@dataclass
class CategoryTotals:
    """Of one category: documents and bytes that were read; bytes that rules drop, those on
    ``reward.*`` and the others; and tokens of the index by tier."""

    documents: int = 0
    read: int = 0
    other: int = 0
    reward: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


@dataclass
class GroupCut:
    """Documents of a source and a language, and where they are cut. ``tiers``: tokens of train
    documents; ``firsts``: from which score on each tier is (the lowest: None)."""

    by: str
    source: str
    language: str
    cut_by: str
    documents: int = 0
    tiers: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, float | None] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(self.tiers.values())


@dataclass
class Worth:
    """Empty where the recipe has neither `reward` nor `tiers`.

    Attributes
    ----------
    scorer : who scored the texts
    tiers : the names of the tiers, lowest first, that of documents without a score last
    by_tier : documents and tokens of the index
    """

    scorer: str | None = None
    categories: dict[str, CategoryTotals] = field(default_factory=dict)
    lost: list[Vanishing] = field(default_factory=list)
    guard: Guard | None = None
    tiers: tuple[str, ...] = ()
    by_tier: dict[str, tuple[int, int]] = field(default_factory=dict)
    groups: list[GroupCut] = field(default_factory=list)


def read_worth(inputs: ReportInputs) -> Worth:
    """Sum up the small tables that the steps have left. Memory: these tables."""
    found = Worth()
    if "reward/categories" in inputs.tables:
        _read_categories(inputs, found)
    if "tiers/cuts" in inputs.tables:
        _read_cuts(inputs, found)
        _read_shares(inputs, found)
    return found


def _read_categories(inputs: ReportInputs, worth: Worth) -> None:
    reward = Reward.model_validate(inputs.lock["reward"])
    worth.guard = reward.guard
    worth.scorer = (inputs.lock.get("lock") or {}).get("packages", {}).get("reward")
    totals: dict[str, list[int]] = {}
    for row in _rows(inputs, "reward/categories"):
        of = worth.categories.setdefault(row["category"] or UNSCORED, CategoryTotals())
        of.documents += row["documents"]
        of.read += row["bytes"]
        of.other += row["other_bytes"]
        of.reward += row["reward_bytes"]
        if row["category"] is not None:
            pair = totals.setdefault(row["category"], [0, 0])
            pair[0] += row["bytes"] - row["other_bytes"]
            pair[1] += row["reward_bytes"]
    worth.lost = lost(reward, totals)


def _read_cuts(inputs: ReportInputs, worth: Worth) -> None:
    names = Quantiles.of(Tiers.model_validate(inputs.lock["tiers"]).quantiles).names
    worth.tiers = (*names, UNSCORED)
    groups: dict[tuple[Any, ...], GroupCut] = {}
    for row in _rows(inputs, "tiers/cuts"):
        key = (row["way"], row["source"], row["language"])
        group = groups.setdefault(
            key, GroupCut(row["by"], row["source"], row["language"], row["cut_by"])
        )
        group.documents += row["documents"]
        group.tiers[row["tier"]] = row["tokens"]
        group.firsts[row["tier"]] = row["from_score"]
    worth.groups = list(groups.values())


def _read_shares(inputs: ReportInputs, worth: Worth) -> None:
    for row in _rows(inputs, "tiers/shares"):
        documents, tokens = worth.by_tier.get(row["tier"], (0, 0))
        worth.by_tier[row["tier"]] = (documents + row["documents"], tokens + row["tokens"])
        if worth.categories:
            name = row["category"] or UNSCORED
            worth.categories[name].tokens[row["tier"]] += row["tokens"]


def _rows(inputs: ReportInputs, table: str) -> list[dict[str, Any]]:
    with inputs.open(inputs.tables[table]) as stream:
        rows: list[dict[str, Any]] = pq.ParquetFile(stream).read(use_threads=False).to_pylist()
    return rows
