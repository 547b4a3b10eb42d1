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
from dataflow.exchange import PICTURES, ExchangeWriter
from dataflow.journal import Record
from dataflow.lists import empty_lists, flat_list, list_of
from dataflow.marks import Followed, follow_spans
from dataflow.pictures import PictureReader
from dataflow.roots import add_roots, hex_root, rows_root
from dataflow.shards import shard_of
from dataflow.shards.sets import PICTURED
from dataflow.steps.columns import text_buffers, text_lengths
from dataflow.tables import DISPOSITIONS, DOCUMENTS, SPANS
from dataflow.tasks import Step, StepContext
from dataflow.verdicts import dispositions, load_verdicts
from quality.language import UNDETERMINED

_READ = ["doc_id", "content_id", "source", "uri", "license", "text"]

_LISTS = ["images", "loss"]


def run(context: StepContext) -> dict[str, Any]:
    """Write dispositions, spans and the partition's part of the exchange; sum the laws' terms."""
    everything = load_verdicts(context)
    languages = context.read_table(context.input("language"), "signals", ["lang.label"])
    source = context.input("documents")
    lists = _Lists(context, source)
    totals = _Totals()
    base = 0
    with (
        context.create_table(
            "dispositions", "ledger/dispositions", DISPOSITIONS, kind="dispositions"
        ) as ledger,
        context.create_table("spans", "ledger/spans", SPANS, kind="spans") as span_sink,
        ExchangeWriter(context, lists.names) as exchange,
    ):
        for table in context.read_groups(source, "documents", _READ + lists.names):
            n = table.num_rows
            verdicts = everything.rows(base, base + n)
            survivors = pa.array(np.flatnonzero(verdicts.survives))
            table = table.append_column("language", languages["lang.label"].slice(base, n))
            base += n
            before = table.take(survivors)
            texts, spans, removed = _clean(context, before)
            after = lists.after(before, spans)
            if after is not None:
                # Nothing is left to learn in a text that has lost all that carried loss.
                removed = np.where(after.mute, text_lengths(before["text"]), removed)
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
            span_rows = _span_rows(context, before, spans, stays)
            ledger.write(rows)
            span_sink.write(span_rows)
            totals.add(rows, span_rows)
            documents = before.append_column("cluster", rows["cluster"].take(survivors))
            documents = _for_exchange(documents, texts).filter(pa.array(stays))
            code = verdicts.split[verdicts.survives][stays]
            if after is not None:
                documents = lists.append(documents, after, stays)
                code = code + PICTURED * after.pictured[stays]
            exchange.add(documents, code, _shards(context, documents, code))
    return {"source": context.params["source"], **totals.stats()}


class _Lists:
    """The images and loss spans of a partition's documents. ``names`` are the columns of those of
    which there are any: to take rows of the others would cost time for nothing."""

    def __init__(self, context: StepContext, source: Record) -> None:
        counts = {"loss": source.stats["spanned"], "images": source.stats["images"]}
        self.names = [name for name, count in counts.items() if count]
        self._pictures = PictureReader(context.store, source) if counts["images"] else None

    def after(self, before: pa.Table, spans: Spans) -> Followed | None:
        """What ``before`` has of them when ``spans`` are gone; None where there are none anyway."""
        if not self.names:
            return None
        for name in _LISTS:
            if name not in self.names:
                empty = empty_lists(before.num_rows, DOCUMENTS.schema.field(name).type)
                before = before.append_column(name, empty)
        return follow_spans(before, spans)

    def append(self, documents: pa.Table, after: Followed, stays: np.ndarray) -> pa.Table:
        """The exchange's columns of those that stay, images with their bytes."""
        if "loss" in self.names:
            documents = documents.append_column("loss", after.loss.filter(pa.array(stays)))
        if self._pictures is not None:
            held = after.images.filter(pa.array(stays))
            documents = documents.append_column("images", _with_bytes(held, self._pictures))
        return documents


def _with_bytes(images: pa.ListArray, pictures: PictureReader) -> pa.ListArray:
    """Lists of ``IMAGE`` as lists of the exchange's ``PICTURES``."""
    found, offsets = flat_list(images)
    columns = [found.field(name) for name in ("digest", "format", "width", "height")]
    data = pictures.read(found.field("digest").to_pylist())
    held = pa.StructArray.from_arrays([*columns, data], fields=list(PICTURES.value_type))
    return list_of(held, offsets, PICTURES)


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


def _for_exchange(documents: pa.Table, texts: pa.Array) -> pa.Table:
    """The columns of the exchange that every document has."""
    names = ["doc_id", "content_id", "source", "uri", "language", "license", "cluster", "text"]
    for name, values in (
        ("language", pc.fill_null(documents["language"], UNDETERMINED)),
        ("text", texts),
    ):
        at = documents.schema.get_field_index(name)
        documents = documents.set_column(at, name, values)
    return documents.select(names)


def _shards(context: StepContext, documents: pa.Table, codes: np.ndarray) -> np.ndarray:
    """The number, in its set, of the shard of each document."""
    shard = np.zeros(documents.num_rows, np.int64)
    for code, count in enumerate(context.params["shards"]):
        mine = codes == code
        if mine.any():
            ids = documents["doc_id"].filter(pa.array(mine))
            shard[mine] = shard_of(ids, count, context.params["shard_seed"])
    return shard


STEP = Step("settle", run)
