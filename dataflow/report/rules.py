"""What each rule did: its values over all documents, what it removes alone and at the margin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataflow.report.pools import Pool, Rows
from dataflow.report.scales import FineHistogram, Kind, Mark
from dataflow.signals import SIGNALS
from quality.rules import Rule, failures

POOL = 40
"""Candidates a side: more than are shown, as copies of one text count once."""

MAX_SHARED = 32
"""Documents that fail more rules than this are counted with those that fail this many."""

MAX_CATEGORIES = 2000


class RuleTally:
    """One rule (of one or several sources), counted over the documents that it applies to.

    ``shared[k]`` documents (and ``shared_bytes[k]`` bytes) fail this rule and k rules in all, so
    ``shared[1]`` is what this rule alone stands between and the corpus.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.sources: list[str] = []
        self.applies = 0
        self.shared = np.zeros(MAX_SHARED + 1, np.int64)
        self.shared_bytes = np.zeros(MAX_SHARED + 1, np.int64)
        self.kind = signal_kind(rule.signal)
        self.histogram = FineHistogram(self.kind) if self.kind else None
        self.categories: Counter[tuple[str, bool]] = Counter()
        self.kept, self.dropped, self.dropped_others = Pool(POOL), Pool(POOL), Pool(POOL)

    @property
    def marks(self) -> tuple[Mark, ...]:
        rule = self.rule
        low = () if rule.min is None else (Mark(rule.min, "min"),)
        return low if rule.max is None else (*low, Mark(rule.max, "max"))

    @property
    def alone(self) -> int:
        return int(self.shared.sum())

    @property
    def alone_bytes(self) -> int:
        return int(self.shared_bytes.sum())

    @property
    def marginal(self) -> int:
        return int(self.shared[1])

    @property
    def marginal_bytes(self) -> int:
        return int(self.shared_bytes[1])

    @property
    def credit(self) -> float:
        """Documents removed, each shared equally by the k rules it fails.

        That is the Shapley value of the rule: its mean marginal removal over all orders of rules.
        """
        return float(sum(int(n) / k for k, n in enumerate(self.shared) if k))

    def add(
        self,
        table: pa.Table,
        rows: Rows,
        index: NDArray[np.int64],
        fails: NDArray[np.bool_],
        failed: NDArray[np.int64],
        text_bytes: NDArray[np.int64],
    ) -> None:
        """Count ``table``, whose rows are ``index`` of the batch.

        ``fails`` is this rule's verdict a document, ``failed`` the number of rules each one fails.
        """
        # A rule that nothing passes fails exactly where the rule has something to say.
        probe = Rule(self.rule.name, self.rule.signal, in_=(), when=self.rule.when)
        applies = np.flatnonzero(failures(table, [probe])[:, 0])
        self.applies += len(applies)
        fails = fails[applies]
        shares = np.minimum(failed[applies], MAX_SHARED)
        self.shared += np.bincount(shares[fails], minlength=MAX_SHARED + 1)
        np.add.at(self.shared_bytes, shares[fails], text_bytes[applies][fails])
        values = self._count_values(table, applies, fails)
        distance = self._distance(values)
        others = failed[applies] - fails
        for pool, chosen in (
            (self.kept, ~fails & (others == 0)),
            (self.dropped, fails & (others == 0)),
            (self.dropped_others, fails & (others > 0)),
        ):
            picked = np.flatnonzero(chosen)
            if len(picked):
                pool.offer(
                    rows, index[applies[picked]], distance[picked], values[picked], others[picked]
                )

    def _count_values(
        self, table: pa.Table, applies: NDArray[np.int64], fails: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        column = table.column(self.rule.signal).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        column = column.take(pa.array(applies))
        if self.histogram is not None:
            if pa.types.is_timestamp(column.type):
                column = column.cast(pa.int64())
            values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            self.histogram.add(values, fails.astype(np.int64))
            return np.asarray(values, np.float64)
        for value, failing in zip(column.to_pylist(), fails.tolist(), strict=True):
            key = (str(value), failing)
            if len(self.categories) >= MAX_CATEGORIES and key not in self.categories:
                key = ("(other values)", failing)
            self.categories[key] += 1
        return np.full(len(applies), np.nan)

    def _distance(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far values lie from the nearest threshold, relative to that threshold."""
        result = np.full(len(values), np.inf)
        for mark in self.marks:
            scale = abs(mark.value) or 1.0
            # Rounded, so that the float32 neighbours of one fraction tie and the id decides.
            result = np.minimum(result, np.round(np.abs(values - mark.value) / scale, 6))
        return np.where(np.isinf(result), 0.0, result)


def signal_kind(name: str) -> Kind | None:
    """How a signal's values are binned; None for text."""
    signal = SIGNALS[name]
    if pa.types.is_string(signal.type) or pa.types.is_large_string(signal.type):
        return None
    if signal.unit in ("fraction", "probability"):
        return "fraction"
    return "real" if pa.types.is_floating(signal.type) else "integer"


class RuleBook:
    """The tallies of all rules of a recipe; a rule that several sources share is counted once."""

    def __init__(self, rules: Mapping[str, Sequence[Rule]]) -> None:
        self.tallies: dict[tuple[str, str], RuleTally] = {}
        self._by_source: dict[str, list[RuleTally]] = {}
        self._rules = {source: list(group) for source, group in rules.items()}
        for source, group in rules.items():
            tallies = []
            for rule in group:
                tally = self.tallies.setdefault((rule.name, rule.describe()), RuleTally(rule))
                tally.sources.append(source)
                tallies.append(tally)
            self._by_source[source] = tallies

    def columns(self, source: str) -> list[str]:
        """The columns that the rules of a source read."""
        names = (name for rule in self._rules.get(source, ()) for name in rule.columns)
        return list(dict.fromkeys(names))

    def add(
        self,
        source: str,
        table: pa.Table,
        rows: Rows,
        index: NDArray[np.int64],
        text_bytes: NDArray[np.int64],
    ) -> None:
        """Count documents of one source: ``table`` holds the rows ``index`` of a batch."""
        rules = self._rules.get(source, [])
        if not rules:
            return
        fails = failures(table, rules)
        failed = fails.sum(axis=1)
        for r, tally in enumerate(self._by_source[source]):
            tally.add(table, rows, index, fails[:, r], failed, text_bytes)
