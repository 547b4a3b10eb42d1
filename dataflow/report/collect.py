"""One walk over a run's tables gathers all that the page counts; a second fetches its samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataflow.preferences import gaps
from dataflow.report.clusters import ClusterSizes
from dataflow.report.images import ImageTotals, walk_images
from dataflow.report.inputs import Partition, ReportInputs, aligned, batches, id_halves
from dataflow.report.pools import Pool, Rows
from dataflow.report.rules import RuleBook
from dataflow.report.scales import FineHistogram
from dataflow.report.tags import TagTotals, count_tags
from dataflow.report.worth import Worth, read_worth
from dataflow.signals import SIGNALS

MAX_KEYS = 20_000
"""Distinct values of a free text column that are counted apart; what follows is one group."""

OTHER = "(other)"
LEDGER_SAMPLE = 4
SPAN_SAMPLE = 6


@dataclass
class Flow:
    """Documents and bytes of text."""

    documents: int = 0
    bytes: int = 0

    def add(self, documents: int, bytes_: int) -> None:
        self.documents += documents
        self.bytes += bytes_


@dataclass
class SourceTotals:
    """What came of one source."""

    unreadable: int = 0
    read: Flow = field(default_factory=Flow)
    kept: Flow = field(default_factory=Flow)
    removed_bytes: int = 0
    inserted_bytes: int = 0
    tokens: int = 0
    drops: dict[tuple[str, str], Flow] = field(default_factory=dict)
    """By (step, rule)."""

    def dropped(self, step: str | None = None) -> Flow:
        """All that was dropped, or what one step dropped."""
        flow = Flow()
        for (where, _), part in self.drops.items():
            if step is None or step == where:
                flow.add(part.documents, part.bytes)
        return flow


@dataclass
class SpanTotals:
    """What one cleaning rule took out of kept documents."""

    spans: int = 0
    removed: int = 0
    inserted: int = 0
    pool: Pool = field(default_factory=lambda: Pool(SPAN_SAMPLE))
    starts: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """The first span of each pooled document, by doc_id: start and length in bytes."""


@dataclass
class Tally:
    """All counts of a run."""

    book: RuleBook
    sources: dict[str, SourceTotals] = field(default_factory=dict)
    unreadable: Counter[tuple[str, str]] = field(default_factory=Counter)
    unreadable_examples: dict[tuple[str, str], tuple[str, int, str]] = field(default_factory=dict)
    languages: dict[str, tuple[Flow, Flow]] = field(default_factory=dict)
    lengths: FineHistogram = field(default_factory=lambda: FineHistogram("integer"))
    spans: dict[str, SpanTotals] = field(default_factory=dict)
    near_sizes: ClusterSizes = field(default_factory=ClusterSizes)
    copy_sizes: ClusterSizes = field(default_factory=ClusterSizes)
    jaccard: FineHistogram = field(default_factory=lambda: FineHistogram("fraction", 1))
    ledger: dict[tuple[str, str, str], Pool] = field(default_factory=dict)
    token_lengths: FineHistogram = field(default_factory=lambda: FineHistogram("integer", 1))
    token_classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 64), np.int64))
    """Documents and tokens by the power of two above the document's length."""
    tiers: dict[tuple[str, str], Flow] = field(default_factory=dict)
    splits: dict[str, Flow] = field(default_factory=dict)
    licenses: dict[str, Flow] = field(default_factory=dict)
    images: ImageTotals = field(default_factory=ImageTotals)
    tags: TagTotals | None = None
    worth: Worth = field(default_factory=Worth)

    def source(self, name: str) -> SourceTotals:
        return self.sources.setdefault(name, SourceTotals())


def collect(inputs: ReportInputs) -> Tally:
    """Walk every table once; memory does not grow with the number of documents."""
    tally = Tally(RuleBook(inputs.rules))
    for name in inputs.rules:
        tally.source(name)
    for number, partition in enumerate(inputs.partitions):
        _walk_documents(inputs, tally, number, partition)
        _walk_unreadable(inputs, tally, partition)
        walk_images(inputs, tally.images, partition)
    for path in inputs.index:
        _walk_index(inputs, tally, path)
    tally.tags = count_tags(inputs)
    tally.worth = read_worth(inputs)
    return tally


_PRODUCERS = (
    "scan",
    "language",
    "document",
    "images",
    "repetition",
    "image_reward",
    "reward",
    "preference",
)


def _needed_columns(inputs: ReportInputs) -> dict[str, list[str]]:
    """Signals and document columns that some rule reads, by producer."""
    needed: dict[str, list[str]] = {name: [] for name in _PRODUCERS}
    for rules in inputs.rules.values():
        for rule in rules:
            for name in rule.columns:
                producer = SIGNALS[name].producer
                # The signals of captions lie in the file of those of images.
                group = needed["images" if producer == "captions" else producer]
                if name not in group:
                    group.append(name)
    return needed


def _walk_documents(inputs: ReportInputs, tally: Tally, number: int, partition: Partition) -> None:
    needed = _needed_columns(inputs)
    # The ledger's source and the documents' are one: it is read once.
    document = ["content_id", *(name for name in needed["document"] if name != "source")]
    if needed["preference"]:
        document.append("metadata")
    language = list(dict.fromkeys(["lang.label", *needed["language"]]))
    dispositions = ["doc_id", "source", "kept", "step", "rule", "value", "cluster", "survivor"]
    dispositions += ["text_bytes", "kept_bytes", "removed_bytes", "inserted_bytes"]
    files = {
        partition.documents: document,
        partition.language: language,
        partition.dispositions: dispositions,
    }
    if needed["scan"]:
        files[partition.scan] = needed["scan"]
    absent: list[str] = []
    for path, producer in (
        (partition.images, "images"),
        (partition.repetition, "repetition"),
        (partition.image_reward, "image_reward"),
        (partition.reward, "reward"),
    ):
        if path is None:
            absent += needed[producer]
        elif needed[producer]:
            files[path] = needed[producer]
    ids = []
    first = 0
    for table in aligned(inputs, files):
        for name in absent:
            table = table.append_column(name, pa.nulls(table.num_rows, SIGNALS[name].type))
        for name in needed["preference"]:
            table = table.append_column(name, gaps(table.column("metadata")))
        rows = Rows(
            number,
            first,
            id_halves(table.column("doc_id")),
            id_halves(table.column("content_id")),
        )
        _count_outcomes(tally, table)
        _count_languages(tally, table)
        _count_clusters(tally, table, rows)
        _count_rules(tally, table, rows)
        _sample_ledger(tally, table, rows)
        if partition.spans:
            ids.append(rows.doc_ids)
        first += table.num_rows
    if partition.spans and ids:
        _walk_spans(inputs, tally, number, partition.spans, np.concatenate(ids))


def _grouped(table: pa.Table, keys: list[str], sums: list[str]) -> list[dict[str, Any]]:
    """Sums and counts per group, as rows."""
    asked: list[Any] = [(name, "sum") for name in sums]
    grouped = table.select([*keys, *sums]).group_by(keys, use_threads=False)
    rows: list[dict[str, Any]] = grouped.aggregate([*asked, ([], "count_all")]).to_pylist()
    return rows


def _count_outcomes(tally: Tally, table: pa.Table) -> None:
    sums = ["text_bytes", "kept_bytes", "removed_bytes", "inserted_bytes"]
    for row in _grouped(table, ["source", "kept", "step", "rule"], sums):
        totals = tally.source(row["source"])
        count, text_bytes = row["count_all"], row["text_bytes_sum"]
        totals.read.add(count, text_bytes)
        if row["kept"]:
            totals.kept.add(count, row["kept_bytes_sum"])
            totals.removed_bytes += row["removed_bytes_sum"]
            totals.inserted_bytes += row["inserted_bytes_sum"]
        else:
            key = (row["step"] or "?", row["rule"] or "?")
            totals.drops.setdefault(key, Flow()).add(count, text_bytes)
    kept = np.asarray(table.column("kept"))
    lengths = np.asarray(table.column("text_bytes"), np.float64)
    tally.lengths.add(lengths, kept.astype(np.int64))


def _count_languages(tally: Tally, table: pa.Table) -> None:
    for row in _grouped(table, ["lang.label", "kept"], ["text_bytes"]):
        label = row["lang.label"] or "unknown"
        before, after = tally.languages.setdefault(label, (Flow(), Flow()))
        before.add(row["count_all"], row["text_bytes_sum"])
        if row["kept"]:
            after.add(row["count_all"], row["text_bytes_sum"])


def _count_clusters(tally: Tally, table: pa.Table, rows: Rows) -> None:
    clusters = table.column("cluster")
    tally.near_sizes.add(id_halves(clusters)[np.asarray(clusters.is_valid()), 0])
    dropped = np.asarray(table.column("survivor").is_valid())
    similar = np.asarray(table.column("value").is_valid())
    tally.copy_sizes.add(rows.content_ids[dropped & ~similar, 0])
    values = np.asarray(table.column("value").fill_null(0), np.float64)
    tally.jaccard.add(values[dropped & similar])


def _count_rules(tally: Tally, table: pa.Table, rows: Rows) -> None:
    sources = table.column("source").to_numpy()
    text_bytes = np.asarray(table.column("text_bytes"), np.int64)
    for source in pc.unique(table.column("source")).to_pylist():
        if not tally.book.columns(source):
            continue
        index = np.flatnonzero(sources == source)
        whole = len(index) == table.num_rows
        part = table if whole else table.take(pa.array(index))
        columns = tally.book.columns(source)
        tally.book.add(source, part.select(columns), rows, index, text_bytes[index])


def _sample_ledger(tally: Tally, table: pa.Table, rows: Rows) -> None:
    columns = [
        pc.dictionary_encode(table.column(name).combine_chunks(), null_encoding="encode")
        for name in ("source", "step", "rule")
    ]
    columns = [c.chunk(0) if isinstance(c, pa.ChunkedArray) else c for c in columns]
    names = [column.dictionary.to_pylist() for column in columns]
    codes = np.stack([np.asarray(column.indices, np.int64) for column in columns], axis=1)
    groups, member = np.unique(codes, axis=0, return_inverse=True)
    values = table.column("value").to_numpy().astype(np.float64)
    for number, group in enumerate(groups):
        source, step, rule = (names[i][code] or "" for i, code in enumerate(group))
        index = np.flatnonzero(member.reshape(-1) == number)
        pool = tally.ledger.setdefault((source, step, rule), Pool(LEDGER_SAMPLE))
        pool.offer(rows, index, np.zeros(len(index)), values[index])


def _walk_spans(
    inputs: ReportInputs, tally: Tally, number: int, path: str, ids: NDArray[np.uint64]
) -> None:
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    high = ids[order, 0]
    for batch in batches(inputs, path, ["doc_id", "rule", "start", "length", "inserted"]):
        table = pa.Table.from_batches([batch])
        for row in _grouped(table, ["rule"], ["length", "inserted"]):
            totals = tally.spans.setdefault(row["rule"], SpanTotals())
            totals.spans += row["count_all"]
            totals.removed += row["length_sum"]
            totals.inserted += row["inserted_sum"]
        span_ids = id_halves(batch.column("doc_id"))
        names = batch.column("rule").to_numpy(zero_copy_only=False)
        starts, lengths = np.asarray(batch.column("start")), np.asarray(batch.column("length"))
        for name in np.unique(names.astype(str)):
            # A document's first span of this rule stands for it.
            index = np.flatnonzero(names == name)
            _, once = np.unique(span_ids[index], axis=0, return_index=True)
            index = index[np.sort(once)]
            totals = tally.spans[name]
            picked = Pool(SPAN_SAMPLE)
            own = span_ids[index]
            picked.offer(Rows(number, 0, own, own), np.arange(len(index)), np.zeros(len(index)))
            place = order[np.searchsorted(high, picked.picks["hi"])]
            chosen = index[picked.picks["row"]]
            rows = Rows(number, 0, ids, ids)
            totals.pool.offer(rows, place, np.zeros(len(place)))
            pooled = {(int(p["hi"]), int(p["lo"])) for p in totals.pool.picks}
            for i in chosen:
                pair = (int(span_ids[i, 0]), int(span_ids[i, 1]))
                if pair in pooled:
                    totals.starts.setdefault(pair, (int(starts[i]), int(lengths[i])))


def _walk_unreadable(inputs: ReportInputs, tally: Tally, partition: Partition) -> None:
    if not partition.unreadable:
        return
    columns = ["source", "uri", "offset", "reason", "detail"]
    for batch in batches(inputs, partition.unreadable, columns):
        for row in batch.to_pylist():
            tally.source(row["source"]).unreadable += 1
            key = (row["source"], row["reason"])
            if len(tally.unreadable) >= MAX_KEYS and key not in tally.unreadable:
                key = (row["source"], OTHER)
            tally.unreadable[key] += 1
            example = (row["uri"], row["offset"], row["detail"])
            held = tally.unreadable_examples.get(key)
            tally.unreadable_examples[key] = example if held is None else min(held, example)


def _walk_index(inputs: ReportInputs, tally: Tally, path: str) -> None:
    for batch in batches(inputs, path, ["source", "tier", "split", "license", "tokens"]):
        table = pa.Table.from_batches([batch])
        for row in _grouped(table, ["source", "tier"], ["tokens"]):
            flow = tally.tiers.setdefault((row["source"], row["tier"]), Flow())
            flow.add(row["count_all"], row["tokens_sum"])
            tally.source(row["source"]).tokens += row["tokens_sum"]
        for column, totals in (("split", tally.splits), ("license", tally.licenses)):
            for row in _grouped(table, [column], ["tokens"]):
                name = row[column]
                if len(totals) >= MAX_KEYS and name not in totals:
                    name = OTHER
                totals.setdefault(name, Flow()).add(row["count_all"], row["tokens_sum"])
        tokens = np.asarray(batch.column("tokens"), np.int64)
        tally.token_lengths.add(tokens.astype(np.float64))
        # The exponent of the least power of two that is not below the length.
        classes = np.ceil(np.log2(np.maximum(tokens, 1))).astype(np.int64)
        tally.token_classes[0] += np.bincount(classes, minlength=64)
        np.add.at(tally.token_classes[1], classes, tokens)
