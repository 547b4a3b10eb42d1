"""``grade``: the score of every kept document, where the tiers are cut, and how tokens are spread.

Scores lie by partition, tokens by shard: documents are brought into the order of the index by two
sorts that spill. Where tiers are cut is counted in one walk over train documents, on the grid of
the scores (``quality.tiers``), so a histogram a group is all that is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.arrays import Columns, ColumnSet
from dataflow.external import Records, sorted_records
from dataflow.packedrows import I64, packed_rows
from dataflow.shards.sets import SIDES
from dataflow.steps.signals import join_signals
from dataflow.tasks import Step, StepContext
from quality.tiers import (
    GRID,
    UNSCORED,
    Cut,
    Group,
    Grouped,
    Histogram,
    Least,
    Quantiles,
    Way,
    cut_groups,
    first_known,
    tier_codes,
)

TRAIN = SIDES[0]
CATEGORY = "reward.category"
NO_TIER = np.uint8(255)

GRADES = ColumnSet(
    "grades",
    {"way": np.dtype(np.int8), "score": np.dtype(np.int32), "category": np.dtype(np.int16)},
)
"""By document, in the order of the index, shard after shard: the number of the sum of signals that
scores it (-1: none does), its score in steps of the grid, and its category (-1: none)."""

TIERS = ColumnSet("tiers", {"tier": np.dtype(np.uint8)})
"""By document: the number of its tier, lowest 0; ``NO_TIER`` where it has none."""

CUTS = pa.schema(
    [
        pa.field("way", pa.int8(), nullable=False),
        pa.field("by", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("cut_by", pa.string(), nullable=False),
        pa.field("tier", pa.string(), nullable=False),
        pa.field("from_score", pa.float64()),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ],
    metadata={"leyden.table": "tiers/cuts", "leyden.version": "1"},
)
"""A group and a tier a row, the lowest first: which documents say where the group is cut
(``quality.tiers.LEVELS``), from which score on the tier is (null: the lowest), and what the group
has in it of train documents. ``way`` is the number of ``by`` among the recipe's."""

SHARES = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("tier", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ],
    metadata={"leyden.table": "tiers/shares", "leyden.version": "1"},
)
"""Documents and tokens of the index by what they are; ``category`` is null where there is none."""

_GRADED = np.dtype([("document", "i8"), ("way", "i1"), ("score", "i4"), ("category", "i2")])
_DESCRIBED = ["source", "language", "split", "tokens"]
_SHARE_KEYS = ["split", "source", "language", "tier", "category"]


def run(context: StepContext) -> dict[str, Any]:
    """Write ``CUTS``, ``SHARES`` and, temporary, ``TIERS``."""
    ways = [Way(tuple((n, w) for n, w in way)) for way in context.params["by"]]
    quantiles = Quantiles.of(context.params["quantiles"])
    rows = [record.outputs["index"].rows or 0 for record in context.inputs("index")]
    starts = np.cumsum([0, *rows], dtype=np.int64)
    categories = _write_grades(context, ways, starts)
    grades = GRADES.written(context)
    counted: dict[Group, Histogram] = {}
    for _, table, way, score in _shards(context, grades, starts):
        train = np.asarray(table["split"].to_numpy() == TRAIN)
        tokens = table["tokens"].to_numpy()
        for group, mine in Grouped(way, table["source"], table["language"]):
            histogram = counted.setdefault(group, Histogram())
            mine = mine[train[mine]]
            histogram.add(score[mine], tokens[mine])
    least = Least(context.params["min_documents"], context.params["min_tokens"])
    cuts = cut_groups(counted, quantiles, least)
    with context.create_table("cuts", "tiers", CUTS, kind="tiers", name="cuts") as sink:
        sink.write(_cuts_table(ways, quantiles, counted, cuts))
    shares: Counter[tuple[Any, ...]] = Counter()
    tokens_of: Counter[tuple[Any, ...]] = Counter()
    names = pa.array([*quantiles.names, UNSCORED])
    labels = pa.array([*categories, None], pa.string())
    with TIERS.create(context) as out:
        for first, table, way, score in _shards(context, grades, starts):
            codes = tier_codes(Grouped(way, table["source"], table["language"]), score, cuts)
            out.add(tier=np.where(codes < 0, NO_TIER, codes).astype(np.uint8))
            category = grades.read("category", first, first + len(codes))
            described = (
                table.append_column("tier", names.take(pa.array(codes % len(names))))
                .append_column("category", labels.take(pa.array(category % len(labels))))
                .group_by(_SHARE_KEYS, use_threads=False)
                .aggregate([("tokens", "sum"), ([], "count_all")])
            )
            for row in described.to_pylist():
                key = tuple(row[name] for name in _SHARE_KEYS)
                shares[key] += row["count_all"]
                tokens_of[key] += row["tokens_sum"]
    ordered = sorted(shares, key=lambda key: tuple((v is None, v or "") for v in key))
    with context.create_table("shares", "tiers", SHARES, kind="tiers", name="shares") as sink:
        columns = dict(zip(_SHARE_KEYS, map(list, zip(*ordered, strict=True)), strict=False))
        columns["documents"] = [shares[key] for key in ordered]
        columns["tokens"] = [tokens_of[key] for key in ordered]
        if ordered:
            sink.write(pa.table(columns, schema=SHARES))
    return {
        "rows": int(starts[-1]),
        "starts": starts[:-1].tolist(),
        "names": list(quantiles.names),
        "groups": len(cuts),
    }


def _write_grades(context: StepContext, ways: list[Way], starts: I64) -> list[str]:
    """Write ``GRADES``; returns the names of the categories, by their numbers."""
    categories: dict[str, int] = {}
    memory = context.local["memory_bytes"]
    seen = 0
    with GRADES.create(context) as out:
        for graded in sorted_records(
            _graded(context, ways, starts, categories),
            ("document",),
            context.scratch,
            "grades",
            memory,
        ):
            numbers = graded["document"]
            if not np.array_equal(numbers, np.arange(seen, seen + len(numbers))):
                raise ValueError("the side index and the index do not agree; build the run again")
            seen += len(numbers)
            out.add(**{name: graded[name] for name in GRADES.dtypes})
    if seen != starts[-1]:
        raise ValueError("the side index has not all documents of the index; build the run again")
    return list(categories)


def _graded(
    context: StepContext, ways: list[Way], starts: I64, categories: dict[str, int]
) -> Iterator[Records]:
    """The grades of each partition's kept documents; ``categories`` numbers what is met."""
    names = list(dict.fromkeys(name for way in ways for name in way.signals))
    categorised = bool(context.job.inputs["reward"])
    columns = [*names, CATEGORY] if categorised else names
    partitions = context.params["partitions"]
    placed = packed_rows(
        context.store,
        context.input("lookup"),
        starts,
        partitions,
        context.scratch,
        context.local["memory_bytes"],
    )
    yield np.zeros(0, _GRADED)
    for number, (rows, documents) in enumerate(placed):
        if not len(rows):
            continue
        table = join_signals(context, columns, number).take(pa.array(rows))
        found = np.empty(len(rows), _GRADED)
        found["document"] = documents
        found["way"], found["score"] = first_known(ways, table)
        found["category"] = _numbered(table[CATEGORY], categories) if categorised else -1
        yield found


def _numbered(column: pa.ChunkedArray, numbers: dict[str, int]) -> I64:
    """The number of each value, a new one for each value that is new; -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    known = [numbers.setdefault(name, len(numbers)) for name in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(known)).to_numpy()
    found: I64 = np.array([*known, -1], np.int64)[codes]
    return found


def _shards(
    context: StepContext, grades: Columns, starts: I64
) -> Iterator[tuple[int, pa.Table, I64, I64]]:
    """Of each shard: its first document's number, its index, and the ways and scores."""
    for number, record in enumerate(context.inputs("index")):
        first, stop = int(starts[number]), int(starts[number + 1])
        if first == stop:
            continue
        table = context.read_table(record, "index", _DESCRIBED)
        way, score = (grades.read(n, first, stop).astype(np.int64) for n in ("way", "score"))
        yield first, table, way, score


def _cuts_table(
    ways: list[Way],
    quantiles: Quantiles,
    counted: Mapping[Group, Histogram],
    cuts: Mapping[Group, Cut],
) -> pa.Table:
    rows = []
    for group, cut in sorted(cuts.items()):
        histogram = counted[group]
        places = np.searchsorted(histogram.scores, cut.firsts, side="left").tolist()
        edges = [0, *places, len(histogram.scores)]
        for tier, name in enumerate(quantiles.names):
            part = slice(edges[tier], edges[tier + 1])
            rows.append(
                {
                    "way": group.way,
                    "by": ways[group.way].describe(),
                    "source": group.source,
                    "language": group.language,
                    "cut_by": cut.level,
                    "tier": name,
                    "from_score": cut.firsts[tier - 1] / GRID if tier else None,
                    "documents": int(histogram.documents[part].sum()),
                    "tokens": int(histogram.tokens[part].sum()),
                }
            )
    return pa.Table.from_pylist(rows, schema=CUTS)


def read_cuts(table: pa.Table) -> tuple[list[str], dict[Group, Cut]]:
    """The names of the tiers, lowest first, and the groups' cuts, out of ``CUTS``."""
    names: list[str] = []
    firsts: dict[Group, list[int]] = {}
    levels: dict[Group, str] = {}
    for row in table.to_pylist():
        group = Group(row["way"], row["source"], row["language"])
        levels[group] = row["cut_by"]
        mine = firsts.setdefault(group, [])
        if row["tier"] not in names:
            names.append(row["tier"])
        if row["from_score"] is not None:
            mine.append(round(row["from_score"] * GRID))
    return names, {g: Cut(levels[g], tuple(found)) for g, found in firsts.items()}


STEP = Step("grade", run)
