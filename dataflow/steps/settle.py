"""``settle``: one ledger row per document, and kept text on its way to the shards.

Everything that was decided about a partition's documents comes together here: the rule that dropped
a document, the survivor that it duplicates, the spans that leave it, its split and its shard.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.cleaning import find_spans, remove_spans
from dataflow.exchange import ExchangeWriter
from dataflow.roots import add_roots, hex_root, rows_root
from dataflow.shards import shard_of
from dataflow.steps.columns import id_array, id_bytes, text_buffers, text_lengths
from dataflow.steps.order import DROPPED
from dataflow.tables import DISPOSITIONS, SPANS
from dataflow.tasks import Step, StepContext
from quality.language import UNDETERMINED

EXACT, NEAR, EMPTY = "exact", "near", "empty"


class _Verdicts:
    """What the global steps decided, by row of this partition."""

    def __init__(self, context: StepContext) -> None:
        order = context.input("order")
        base, rows = context.params["base"], context.params["rows"]
        self.rank = context.read_arrays(order, "rows")["rank"].to_numpy()[base : base + rows]
        ranks = context.read_arrays(order, "ranks")
        self.doc_id = id_bytes(ranks["doc_id"])
        self.content_id = id_bytes(ranks["content_id"])
        self.exact = ranks["exact_survivor"].to_numpy()
        near = context.read_arrays(context.input("near"), "verdicts")
        self.survivor = near["survivor"].to_numpy()
        self.jaccard = near["jaccard"].to_numpy()
        self.cluster = near["cluster"].to_numpy()
        self.clustered = near["clustered"].to_numpy(zero_copy_only=False)
        self.split = context.read_arrays(context.input("split"), "splits")["split"].to_numpy()
        decided = context.read_arrays(context.input("decide"), "decisions")
        self.rule = decided["rule"].to_numpy()
        self.value = decided["value"].to_numpy()
        self.threshold = decided["threshold"].to_numpy()


def _dispositions(
    context: StepContext, verdicts: _Verdicts, rows: slice, columns: dict[str, Any]
) -> pa.Table:
    """Ledger rows of one row group; ``columns`` holds ids, lengths and what cleaning took."""
    rank = verdicts.rank[rows]
    n = len(rank)
    rule_number = verdicts.rule[rows]
    ranked = rank != DROPPED
    safe = np.where(ranked, rank, 0) if len(verdicts.exact) else np.zeros(n, np.uint32)
    lookup = (lambda values: values[safe]) if len(verdicts.exact) else (lambda _: np.zeros(n))
    exact = ranked & (lookup(verdicts.exact) != rank)
    near = ranked & ~exact & (lookup(verdicts.survivor) != rank)
    empty = columns["emptied"]
    kept = ranked & ~exact & ~near & ~empty
    names = np.asarray([*context.params["rules"], ""], object)

    step = np.full(n, None, object)
    rule = np.full(n, None, object)
    dropped_by_rule = rule_number >= 0
    step[dropped_by_rule], rule[dropped_by_rule] = "decide", names[rule_number[dropped_by_rule]]
    for mask, where, what in (
        (exact, "dedup", EXACT),
        (near, "dedup", NEAR),
        (empty, "clean", EMPTY),
    ):
        step[mask], rule[mask] = where, what
    value = np.where(dropped_by_rule, verdicts.value[rows], np.nan)
    threshold = np.where(dropped_by_rule, verdicts.threshold[rows], np.nan)
    if near.any():
        value[near] = verdicts.jaccard[rank[near]]
        threshold[near] = context.params["near_threshold"]

    survivor = np.zeros((n, 16), np.uint8)
    removed = exact | near
    if removed.any():
        survivor[removed] = verdicts.doc_id[verdicts.survivor[rank[removed]]]
    cluster = np.zeros((n, 16), np.uint8)
    clustered = np.zeros(n, bool)
    if len(verdicts.exact):
        clustered = ranked & lookup(verdicts.clustered).astype(bool)
        cluster[clustered] = verdicts.content_id[verdicts.cluster[rank[clustered]]]
    length = columns["text_bytes"]
    gone = np.where(kept, columns["removed_bytes"], 0)
    return pa.table(
        {
            "doc_id": columns["doc_id"],
            "source": columns["source"],
            "kept": kept,
            "step": pa.array(step, pa.string()),
            "rule": pa.array(rule, pa.string()),
            "value": pa.array(value, pa.float64(), from_pandas=True),
            "threshold": pa.array(threshold, pa.float64(), from_pandas=True),
            "cluster": id_array(cluster, ~clustered),
            "survivor": id_array(survivor, ~removed),
            "text_bytes": length,
            "kept_bytes": np.where(kept, length - gone, 0),
            "removed_bytes": gone,
            "inserted_bytes": np.zeros(n, np.int64),
        },
        schema=DISPOSITIONS.schema,
    )


def run(context: StepContext) -> dict[str, Any]:
    """Write dispositions, spans and the partition's part of the exchange; sum the laws' terms."""
    verdicts = _Verdicts(context)
    cleaners = context.params["cleaners"]
    shards: list[int] = context.params["shards"]
    seed: int = context.params["shard_seed"]
    languages = context.read_table(context.input("language"), "signals", ["lang.label"])
    totals = dict.fromkeys(("kept", "dropped"), 0)
    sums = dict.fromkeys(("read", "inserted", "kept", "dropped", "removed"), 0)
    dispositions_root = spans_root = 0
    base = 0
    names = ["doc_id", "content_id", "source", "uri", "license", "text"]
    with (
        context.create_table(
            "dispositions", "ledger/dispositions", DISPOSITIONS, kind="dispositions"
        ) as ledger,
        context.create_table("spans", "ledger/spans", SPANS, kind="spans") as span_sink,
        ExchangeWriter(context) as exchange,
    ):
        for table in context.read_groups(context.input("documents"), "documents", names):
            n = table.num_rows
            rows = slice(base, base + n)
            base += n
            rank = verdicts.rank[rows]
            survives = np.zeros(n, bool)
            ranked = rank != DROPPED
            survives[ranked] = verdicts.survivor[rank[ranked]] == rank[ranked]
            chosen = np.flatnonzero(survives)
            kept = table.take(pa.array(chosen)).combine_chunks()
            data, offsets = text_buffers(kept["text"])
            spans = find_spans(data, offsets, cleaners)
            texts = kept["text"].chunk(0).cast(pa.large_binary()) if len(chosen) else None
            removed = np.zeros(n, np.int64)
            emptied = np.zeros(n, bool)
            length = text_lengths(table["text"])
            if texts is not None:
                texts, gone = remove_spans(texts, spans)
                removed[chosen] = gone
                emptied[chosen] = gone == length[chosen]
            disposition = _dispositions(
                context,
                verdicts,
                rows,
                {
                    "doc_id": table["doc_id"],
                    "source": table["source"],
                    "text_bytes": length,
                    "removed_bytes": removed,
                    "emptied": emptied,
                },
            )
            ledger.write(disposition)
            dispositions_root = add_roots([dispositions_root, rows_root(disposition)])
            spans_table = _span_rows(context, kept, spans, emptied[chosen])
            span_sink.write(spans_table)
            spans_root = add_roots([spans_root, rows_root(spans_table)])
            if texts is not None:
                _send(exchange, kept, texts, languages.slice(rows.start, n), disposition, chosen,
                      verdicts.split[rank[chosen]], shards, seed)  # fmt: skip
            keep = np.asarray(disposition["kept"])
            totals["kept"] += int(keep.sum())
            totals["dropped"] += int((~keep).sum())
            sums["read"] += int(length.sum())
            sums["dropped"] += int(length[~keep].sum())
            for name in ("kept", "removed", "inserted"):
                sums[name] += int(pc.sum(disposition[f"{name}_bytes"]).as_py() or 0)
    return {
        "source": context.params["source"],
        "documents": totals,
        "bytes": sums,
        "text_bytes": sums["read"],
        "dispositions_root": hex_root(dispositions_root),
        "spans_root": hex_root(spans_root),
    }


def _span_rows(context: StepContext, kept: pa.Table, spans: Any, emptied: np.ndarray) -> pa.Table:
    """``spans`` rows of the documents that stay."""
    stays = ~emptied[spans.document]
    names = np.asarray([c["name"] for c in context.params["cleaners"]] or [""], object)
    return pa.table(
        {
            "doc_id": kept["doc_id"].take(pa.array(spans.document[stays])),
            "rule": pa.array(names[spans.cleaner[stays]], pa.string()),
            "start": spans.start[stays],
            "length": spans.length[stays],
            "inserted": np.zeros(int(stays.sum()), np.int64),
        },
        schema=SPANS.schema,
    )


def _send(
    exchange: ExchangeWriter,
    kept: pa.Table,
    texts: pa.Array,
    languages: pa.Table,
    disposition: pa.Table,
    chosen: np.ndarray,
    split: np.ndarray,
    shards: list[int],
    seed: int,
) -> None:
    """Route the kept documents of one row group to their shards."""
    rows = pa.array(chosen)
    table = pa.table(
        {
            "doc_id": kept["doc_id"],
            "content_id": kept["content_id"],
            "source": kept["source"],
            "uri": kept["uri"],
            "language": pc.fill_null(languages["lang.label"].take(rows), UNDETERMINED),
            "license": kept["license"],
            "cluster": disposition["cluster"].take(rows),
            "text": texts,
        }
    )
    ids = kept["doc_id"].combine_chunks()
    shard = np.zeros(len(chosen), np.int64)
    for code, count in enumerate(shards):
        mine = split == code
        if mine.any():
            shard[mine] = shard_of(ids.filter(pa.array(mine)), count, seed)
    nonempty = np.asarray(disposition["kept"].take(rows))
    mask = pa.array(nonempty)
    exchange.add(table.filter(mask), split[nonempty], shard[nonempty])


STEP = Step(
    "settle",
    run,
    code=(
        "dataflow/steps/settle.py",
        "dataflow/steps/columns.py",
        "dataflow/cleaning.py",
        "dataflow/exchange.py",
        "dataflow/shards",
        "dataflow/roots.py",
        "dataflow/tables.py",
        "kernels/text",
    ),
)
