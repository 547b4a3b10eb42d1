"""What a corpus has to draw from, by source, component and length, counted in one pass over its
index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow.run import Run
from mixtures.documents import ShardDocuments, walk
from mixtures.lengths import bounds
from mixtures.members import Members, open_members
from mixtures.spec import Component, PlanSpec

SCALES = 16
"""L1 is also looked at divided by 2, 4, …, 2**SCALES."""

Counts = npt.NDArray[np.int64]
Values = dict[str | None, tuple[int, int]]
"""Documents and tokens by the value of a column."""

_KEPT, _KEPT_TOKENS, _OUT, _OUT_TOKENS, _EPOCH_TOKENS, _BY_COLUMNS = range(6)


@dataclass(frozen=True)
class Inventory:
    """Train documents and their tokens: rows are ``sources``, columns are stretches of lengths.

    ``edges`` are the lengths at which a stretch begins, all those at which a class does for L1 and
    for its halves; so each class of each scale is a whole number of stretches. ``left_out`` and
    ``left_out_tokens`` are of documents that a plan which packs whole does not cut (those with
    images, or all) and that are longer than a sequence: the others do not count them.

    Components that more than source and length choose are counted one by one: ``chosen`` has, by
    `Component.selection`, int64 [6, edges], whatever the length: documents and tokens, those of
    documents left out, the tokens of an epoch (copies counted), and the documents that match as far
    as columns tell. ``values`` are those of the columns that such components name.
    """

    sources: tuple[str, ...]
    edges: Counts
    documents: Counts
    tokens: Counts
    left_out: Counts
    left_out_tokens: Counts
    longest: int
    held_out: int
    chosen: dict[tuple[object, ...], Counts] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)

    def of(self, component: Component, l1: int) -> tuple[int, int]:
        """Documents and tokens of a component, each document once."""
        return self._of(component, l1, _KEPT), self._of(component, l1, _KEPT_TOKENS)

    def left_out_of(self, component: Component, l1: int) -> tuple[int, int]:
        """Documents and tokens that would be a component's and are left out."""
        return self._of(component, l1, _OUT), self._of(component, l1, _OUT_TOKENS)

    def epoch_of(self, component: Component, l1: int) -> int:
        """Tokens of an epoch of a component: documents that it repeats count as often."""
        return self._of(component, l1, _KEPT_TOKENS if component.by_source else _EPOCH_TOKENS)

    def limit_of(self, component: Component, l1: int) -> int:
        """The most tokens that a component gives."""
        return self.epoch_of(component, l1) * component.passes

    def matching_columns(self, component: Component, l1: int) -> int:
        """How many documents match a component as far as columns tell, signals not asked."""
        return self._of(component, l1, _KEPT if component.by_source else _BY_COLUMNS)

    def _of(self, component: Component, l1: int, count: int) -> int:
        low, high = bounds(component.length, l1)
        first = int(np.searchsorted(self.edges, low))
        last = len(self.edges) if high is None else int(np.searchsorted(self.edges, high))
        if not component.by_source:
            return int(self.chosen[component.selection][count, first:last].sum())
        rows = [i for i, source in enumerate(self.sources) if component.draws_from(source)]
        counts = (self.documents, self.tokens, self.left_out, self.left_out_tokens)[count]
        return int(counts[rows, first:last].sum())


def take_inventory(
    run: Run, l1: int, spec: PlanSpec | None = None, members: Members | None = None
) -> Inventory:
    """Count the train documents of a run. Memory: the index of one shard, besides what
    `open_members` takes.

    Parameters
    ----------
    l1 : to which the length classes are relative
    spec : of the plan that is to be compiled: what ``tiling`` it counts by, whether it packs
        whole, and its components; None: tokens as they are in the shards, by source and length
    members : of ``spec``, where they were opened before

    Raises
    ------
    PlanRefused
        If a component names signals that are not to be had, or a document is of two components.
    """
    if spec is not None and members is None:
        with open_members(run, spec) as opened:
            return take_inventory(run, l1, spec, opened)
    count = _Count(l1, spec, members)
    for shard in walk(run, count.columns):
        count.add(shard)
    return count.inventory()


class _Count:
    """An inventory while it is taken."""

    def __init__(self, l1: int, spec: PlanSpec | None, members: Members | None) -> None:
        starts = {0}
        for scale in range(SCALES + 1):
            for name in ("short", "medium", "long"):
                starts |= {bound for bound in bounds(name, l1 >> scale) if bound is not None}
        self._edges = np.array(sorted(starts), np.int64)
        self._spec, self._members = spec, members
        self._by_source: dict[str, Counts] = {}
        self._longest = self._held_out = 0
        self._whole = spec is not None and spec.packing == "whole"
        components = () if spec is None else spec.components
        self._singly = {c.selection: c for c in components if not c.by_source}
        self._chosen = {
            selection: np.zeros((6, len(self._edges)), np.int64) for selection in self._singly
        }
        self._apart = any(c.by_signals for c in components)
        named = ("tier", "language", "domain") if self._singly else ()
        self._values: dict[str, Values] = {
            name: {} for name in named if any(getattr(c, f"{name}s") for c in components)
        }
        columns = ["source", "tokens", "split"] if members is None else members.columns
        self.columns = [*columns, *(["images"] if self._whole else [])]

    def add(self, shard: ShardDocuments) -> None:
        """Count a shard's documents."""
        spec, trains = self._spec, shard.trains
        self._held_out += int((~trains).sum())
        tokens = shard.expanded(None if spec is None else spec.tiling)
        self._longest = max(self._longest, int(tokens[trains].max(initial=0)))
        out = np.zeros(len(tokens), bool)
        if spec is not None and self._whole:
            out = ((shard.images > 0) | (spec.longer == "leave_out")) & (tokens > spec.length)
        stretch = np.searchsorted(self._edges, tokens, side="right") - 1
        self._add_sources(shard, trains, out, stretch, tokens)
        if self._members is None:
            return
        if self._apart:
            self._members.components(shard)
        for selection, component in self._singly.items():
            counts = self._chosen[selection]
            by_columns = trains & self._members.chosen(shard, component, by_signals=False)
            mine = trains & self._members.chosen(shard, component)
            again = tokens * self._members.times(shard, component)
            for row, mask, weights in (
                (_KEPT, mine & ~out, None),
                (_KEPT_TOKENS, mine & ~out, tokens),
                (_OUT, mine & out, None),
                (_OUT_TOKENS, mine & out, tokens),
                (_EPOCH_TOKENS, mine & ~out, again),
                (_BY_COLUMNS, by_columns & ~out, None),
            ):
                counts[row] += self._sums(
                    stretch[mask], weights if weights is None else weights[mask]
                )
        self._add_values(shard, trains, tokens)

    def inventory(self) -> Inventory:
        """What was counted."""
        edges = self._edges
        sources = tuple(sorted(s for s, counts in self._by_source.items() if counts[[0, 2]].any()))
        found = np.array([self._by_source[s] for s in sources], np.int64)
        kept, kept_tokens, out, out_tokens = np.moveaxis(found.reshape(-1, 4, len(edges)), 1, 0)
        return Inventory(
            sources, edges, kept, kept_tokens, out, out_tokens, self._longest, self._held_out,
            self._chosen, self._values,
        )  # fmt: skip

    def _add_sources(
        self,
        shard: ShardDocuments,
        trains: npt.NDArray[np.bool_],
        out: npt.NDArray[np.bool_],
        stretch: Counts,
        tokens: Counts,
    ) -> None:
        names, codes = shard.coded("source")
        edges = len(self._edges)
        for row, mask in ((_KEPT, trains & ~out), (_OUT, trains & out)):
            if not mask.any():
                continue
            cell = codes[mask] * edges + stretch[mask]
            documents = self._sums(cell, None, len(names)).reshape(-1, edges)
            sums = self._sums(cell, tokens[mask], len(names)).reshape(-1, edges)
            for number, source in enumerate(names):
                if source is not None and documents[number].any():
                    counts = self._by_source.setdefault(source, np.zeros((4, edges), np.int64))
                    counts[row] += documents[number]
                    counts[row + 1] += sums[number]

    def _add_values(
        self, shard: ShardDocuments, trains: npt.NDArray[np.bool_], tokens: Counts
    ) -> None:
        for name, found in self._values.items():
            values, codes = shard.coded(name)
            documents = np.bincount(codes[trains], minlength=len(values)).tolist()
            sums = np.bincount(codes[trains], tokens[trains], len(values)).tolist()
            for value, count, total in zip(values, documents, sums, strict=True):
                if count:
                    before = found.get(value, (0, 0))
                    found[value] = before[0] + count, before[1] + int(total)

    def _sums(self, cells: Counts, weights: Counts | None, times: int = 1) -> Counts:
        """How many, or how much, is in each cell. Of one shard, sums of tokens are below 2**53, so
        that floats are exact."""
        found: Counts = np.bincount(cells, weights, times * len(self._edges)).astype(np.int64)
        return found


def account(component: Component, l1: int, inventory: Inventory) -> dict[str, Any]:
    """What a plan's head says a corpus has of a component."""
    documents, tokens = inventory.of(component, l1)
    found: dict[str, Any] = {"name": component.name, "documents": documents, "tokens": tokens}
    if component.repeat is not None:
        found["epoch_tokens"] = inventory.epoch_of(component, l1)
    return found


def told(values: Values, most: int = 12) -> str:
    """The values of a column with their tokens, those with the most first."""
    order: Iterable[tuple[str | None, tuple[int, int]]] = sorted(
        values.items(), key=lambda item: (-item[1][1], str(item[0]))
    )
    parts = [
        f"{'none' if value is None else value} ({tokens:,} tokens in {documents:,} documents)"
        for value, (documents, tokens) in order
    ]
    more = f", and {len(parts) - most} others" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more
