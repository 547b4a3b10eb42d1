"""``settle``: one ledger row per document, and kept text on its way to the shards.

Everything that was decided about a partition's documents comes together here: the rule that dropped
a document, the survivor that it duplicates, the spans that leave it, its split and its shard.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.cleaning import Spans, find_spans, remove_spans
from dataflow.exchange import ExchangeWriter
from dataflow.roots import add_roots, hex_root, rows_root
from dataflow.shards import shard_of
from dataflow.steps.columns import text_buffers, text_lengths
from dataflow.tables import DISPOSITIONS, SPANS
from dataflow.tasks import Step, StepContext
from dataflow.verdicts import dispositions, load_verdicts
from quality.language import UNDETERMINED

_READ = ["doc_id", "content_id", "source", "uri", "license", "text"]


def run(context: StepContext) -> dict[str, Any]:
    """Write dispositions, spans and the partition's part of the exchange; sum the laws' terms."""
    everything = load_verdicts(context)
    languages = context.read_table(context.input("language"), "signals", ["lang.label"])
    totals = _Totals()
    base = 0
    with (
        context.create_table(
            "dispositions", "ledger/dispositions", DISPOSITIONS, kind="dispositions"
        ) as ledger,
        context.create_table("spans", "ledger/spans", SPANS, kind="spans") as span_sink,
        ExchangeWriter(context) as exchange,
    ):
        for table in context.read_groups(context.input("documents"), "documents", _READ):
            n = table.num_rows
            verdicts = everything.rows(base, base + n)
            survivors = pa.array(np.flatnonzero(verdicts.survives))
            table = table.append_column("language", languages["lang.label"].slice(base, n))
            base += n
            texts, spans, removed = _clean(context, table.take(survivors))
            removed_bytes = np.zeros(n, np.int64)
            removed_bytes[verdicts.survives] = removed
            rows = dispositions(
                table,
                verdicts,
                text_lengths(table["text"]),
                removed_bytes,
                rules=context.params["rules"],
                near_threshold=context.params["near_threshold"],
            )
            # Cleaning may have left nothing of a survivor; then it is dropped after all.
            stays = np.asarray(rows["kept"].take(survivors))
            span_rows = _span_rows(context, table.take(survivors), spans, stays)
            ledger.write(rows)
            span_sink.write(span_rows)
            totals.add(rows, span_rows)
            documents = table.append_column("cluster", rows["cluster"]).take(survivors)
            documents = documents.set_column(
                documents.schema.get_field_index("text"), "text", texts
            ).filter(pa.array(stays))
            split = verdicts.split[verdicts.survives][stays]
            exchange.add(_for_exchange(documents), split, _shards(context, documents, split))
    return {"source": context.params["source"], **totals.stats()}


class _Totals:
    """Sums over the partition: what the conservation laws and the roots are made of."""

    def __init__(self) -> None:
        self.kept = self.dropped = 0
        self.bytes = dict.fromkeys(("read", "inserted", "kept", "dropped", "removed"), 0)
        self.dispositions_root = self.spans_root = 0

    def add(self, rows: pa.Table, span_rows: pa.Table) -> None:
        kept = np.asarray(rows["kept"])
        length = np.asarray(rows["text_bytes"])
        self.kept += int(kept.sum())
        self.dropped += int((~kept).sum())
        self.bytes["read"] += int(length.sum())
        self.bytes["dropped"] += int(length[~kept].sum())
        for name in ("kept", "removed", "inserted"):
            self.bytes[name] += int(np.asarray(rows[f"{name}_bytes"]).sum())
        self.dispositions_root = add_roots([self.dispositions_root, rows_root(rows)])
        self.spans_root = add_roots([self.spans_root, rows_root(span_rows)])

    def stats(self) -> dict[str, Any]:
        return {
            "documents": {"kept": self.kept, "dropped": self.dropped},
            "rows": self.kept + self.dropped,
            "bytes": self.bytes,
            "text_bytes": self.bytes["read"],
            "dispositions_root": hex_root(self.dispositions_root),
            "spans_root": hex_root(self.spans_root),
        }


def _clean(context: StepContext, survivors: pa.Table) -> tuple[pa.Array, Spans, np.ndarray]:
    """Texts (``large_binary``) after cleaning, the spans that went, and the bytes of each text."""
    data, offsets = text_buffers(survivors["text"])
    spans = find_spans(data, offsets, context.params["cleaners"])
    texts = survivors["text"].cast(pa.large_binary()).combine_chunks()
    cleaned, removed = remove_spans(texts, spans)
    return cleaned, spans, removed


def _span_rows(
    context: StepContext, survivors: pa.Table, spans: Spans, stays: np.ndarray
) -> pa.Table:
    """``spans`` rows of the documents that stay."""
    mine = stays[spans.document]
    names = np.asarray([c["name"] for c in context.params["cleaners"]] or [""], object)
    return pa.table(
        {
            "doc_id": survivors["doc_id"].take(pa.array(spans.document[mine])),
            "rule": pa.array(names[spans.cleaner[mine]], pa.string()),
            "start": spans.start[mine],
            "length": spans.length[mine],
            "inserted": np.zeros(int(mine.sum()), np.int64),
        },
        schema=SPANS.schema,
    )


def _for_exchange(documents: pa.Table) -> pa.Table:
    names = ["doc_id", "content_id", "source", "uri", "language", "license", "cluster", "text"]
    language = pc.fill_null(documents["language"], UNDETERMINED)
    at = documents.schema.get_field_index("language")
    return documents.set_column(at, "language", language).select(names)


def _shards(context: StepContext, documents: pa.Table, split: np.ndarray) -> np.ndarray:
    """The number, in its split, of the shard of each document."""
    shard = np.zeros(documents.num_rows, np.int64)
    for code, count in enumerate(context.params["shards"]):
        mine = split == code
        if mine.any():
            ids = documents["doc_id"].filter(pa.array(mine))
            shard[mine] = shard_of(ids, count, context.params["shard_seed"])
    return shard


STEP = Step("settle", run)
