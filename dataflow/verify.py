"""``verify``: reads a whole run again and checks it against everything that it claims.

Files are hashed and compared with the manifest; tables are checked against their declarations; the
logical root is computed afresh from rows and shard contents; and the conservation laws are counted
from the tables themselves, per source:

* records seen = unreadable + read
* documents read = kept + dropped
* text bytes read + inserted = kept + dropped + removed
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import blake3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataflow.ids import content_id
from dataflow.journal import Output
from dataflow.lists import empty_lists, flat_list
from dataflow.roots import add_roots, rows_root
from dataflow.run import PartitionRecords, Run
from dataflow.shardroots import content_rows, table_root, token_rows
from dataflow.steps.columns import text_lengths
from dataflow.steps.read import documents_root
from dataflow.summary import file_root, logical_root
from dataflow.tables import (
    DISPOSITIONS,
    DOCUMENTS,
    IMAGES,
    INDEX,
    MANIFEST,
    SPANS,
    UNREADABLE,
    Table,
    TableError,
    check_table,
)
from dataflow.tilings import with_token_counts
from dataflow.verify_tiers import check_scorers, check_tiered, check_tiers
from vl_data.images import MARK

READ_BYTES = 4 << 20

_BYTES = ("read", "inserted", "kept", "dropped", "removed")


@dataclass
class _Counts:
    """What the tables say of one source."""

    records: dict[str, int] = field(default_factory=lambda: {"seen": 0, "unreadable": 0, "read": 0})
    documents: dict[str, int] = field(default_factory=lambda: {"read": 0, "kept": 0, "dropped": 0})
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_BYTES, 0))

    def add(self, other: _Counts) -> None:
        for mine, theirs in (
            (self.records, other.records),
            (self.documents, other.documents),
            (self.bytes, other.bytes),
        ):
            for name, value in theirs.items():
                mine[name] += value

    def as_json(self) -> dict[str, dict[str, int]]:
        return {"records": self.records, "documents": self.documents, "bytes": self.bytes}


@dataclass
class Verification:
    """The outcome: ``problems`` is empty when the run is what it claims to be."""

    problems: list[str] = field(default_factory=list)
    sources: dict[str, _Counts] = field(default_factory=lambda: defaultdict(_Counts))
    root_hash: str = ""
    file_root: str = ""

    def as_json(self) -> dict[str, Any]:
        """The documented form of ``verify --json``."""
        total = _Counts()
        for counts in self.sources.values():
            total.add(counts)
        return {
            "ok": not self.problems,
            "root_hash": self.root_hash,
            "file_root": self.file_root,
            **total.as_json(),
            "sources": {name: self.sources[name].as_json() for name in sorted(self.sources)},
            "problems": self.problems,
        }


def verify(run: Run) -> Verification:
    """Check everything that a run claims. Reads all of its files."""
    found = Verification()
    _check_files(run, found)
    if found.problems:
        # What is not the file that was written would only raise a heap of further complaints.
        return found
    roots: dict[str, list[int]] = defaultdict(list)
    kept_ids: list[int] = []
    for partition in run.partitions:
        _check_partition(run, partition, found, roots, kept_ids)
    index_ids: list[int] = []
    kept_bytes = _check_shards(run, found, roots, index_ids)
    if add_roots(kept_ids) != add_roots(index_ids):
        found.problems.append(
            "the documents of the index are not the kept documents of the ledger, each once"
        )
    ledger_kept = sum(counts.bytes["kept"] for counts in found.sources.values())
    if kept_bytes != ledger_kept:
        found.problems.append(
            f"the shards hold {kept_bytes} bytes of text, the ledger keeps {ledger_kept}"
        )
    check_scorers(run, found.problems)
    if run.grade is not None:
        check_tiers(run, found.problems)
    found.root_hash = logical_root({name: add_roots(parts) for name, parts in roots.items()})
    _compare(found, "logical root", found.root_hash, run.header["logical_root"])
    for source, counts in found.sources.items():
        _check_laws(source, counts, found)
    return found


def _compare(found: Verification, what: str, value: Any, claimed: Any) -> None:
    if value != claimed:
        found.problems.append(f"{what}: found {value}, the run claims {claimed}")


def _check_files(run: Run, found: Verification) -> None:
    """Hash every file of the manifest."""
    try:
        with run.store.open("manifest.parquet") as stream:
            file = pq.ParquetFile(stream)
            check_table(file.schema_arrow, MANIFEST, "manifest.parquet")
            rows = file.read(use_threads=False).to_pylist()
    except (FileNotFoundError, pa.ArrowException, TableError) as error:
        found.problems.append(f"manifest.parquet: {error}")
        return
    for row in rows:
        digest = blake3.blake3()
        size = 0
        try:
            with run.store.open(row["path"]) as stream:
                while data := stream.read(READ_BYTES):
                    digest.update(data)
                    size += len(data)
        except FileNotFoundError:
            found.problems.append(f"{row['path']}: is in the manifest but not in the run folder")
            continue
        if size != row["bytes"] or digest.hexdigest() != row["blake3"]:
            found.problems.append(
                f"{row['path']}: found {size} bytes with BLAKE3 {digest.hexdigest()[:16]}…, "
                f"expected {row['bytes']} with {row['blake3'][:16]}…; delete it and its record "
                "and build again"
            )
    listed = {row["path"] for row in rows}
    for output in _outputs(run):
        if output.path not in listed:
            found.problems.append(f"{output.path}: is not in the manifest")
    found.file_root = file_root(rows)
    _compare(found, "file root", found.file_root, run.header["file_root"])


def _outputs(run: Run) -> list[Output]:
    records = [run.tokenizer, run.lookup, *run.energon]
    records += [run.repetition] if run.repetition is not None else []
    for p in run.partitions:
        records += p.records
    records += [r for r in (run.categories, run.grade) if r is not None]
    for s in run.shards:
        records += s.records
    return [o for record in records for o in record.outputs.values() if not o.temporary]


def _check_schema(run: Run, output: Output, table: Table, found: Verification) -> None:
    with run.store.open(output.path) as stream:
        try:
            check_table(pq.ParquetFile(stream).schema_arrow, table, output.path)
        except TableError as error:
            found.problems.append(str(error))


def _check_partition(
    run: Run,
    partition: PartitionRecords,
    found: Verification,
    roots: dict[str, list[int]],
    kept_ids: list[int],
) -> None:
    read, settle = partition.read, partition.settle
    for record, role, table in (
        (read, "documents", DOCUMENTS),
        (read, "unreadable", UNREADABLE),
        (settle, "dispositions", DISPOSITIONS),
        (settle, "spans", SPANS),
    ):
        _check_schema(run, record.outputs[role], table, found)
    counts = found.sources[partition.source]
    unreadable = run.table(read, "unreadable")
    roots["unreadable"].append(rows_root(unreadable))
    counts.records["seen"] += read.stats["seen"]
    counts.records["unreadable"] += unreadable.num_rows
    ids: list[pa.ChunkedArray] = []
    lengths: list[np.ndarray] = []
    digests = _stored_images(run, partition, found)
    for group in run.groups(read, "documents"):
        roots["documents"].append(documents_root(group))
        ids.append(group["doc_id"])
        lengths.append(text_lengths(group["text"]))
        _check_content(group, partition, digests, found)
        counts.records["read"] += group.num_rows
        counts.documents["read"] += group.num_rows
        counts.bytes["read"] += int(lengths[-1].sum())
    ledger = run.table(settle, "dispositions")
    roots["dispositions"].append(rows_root(ledger))
    document_ids = pa.chunked_array([c for i in ids for c in i.chunks], pa.binary(16))
    if not ledger["doc_id"].combine_chunks().equals(document_ids.combine_chunks()):
        found.problems.append(f"{partition.name}: the ledger is not row-aligned with the documents")
        return
    length = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
    if not np.array_equal(length, ledger["text_bytes"].to_numpy()):
        found.problems.append(f"{partition.name}: the ledger's text_bytes are not the texts'")
    for record, role in run.signals(partition):
        output = record.outputs[role]
        if output.rows != ledger.num_rows:
            found.problems.append(
                f"{output.path}: found {output.rows} rows, expected {ledger.num_rows}"
            )
    keep = ledger["kept"].to_numpy()
    counts.documents["kept"] += int(keep.sum())
    counts.documents["dropped"] += int((~keep).sum())
    counts.bytes["dropped"] += int(length[~keep].sum())
    for name in ("inserted", "kept", "removed"):
        counts.bytes[name] += int(pc.sum(ledger[f"{name}_bytes"]).as_py() or 0)
    kept_ids.append(rows_root(ledger.filter(ledger["kept"]).select(["doc_id"])))
    spans = run.table(settle, "spans")
    roots["spans"].append(rows_root(spans))
    for column, name in (("length", "removed"), ("inserted", "inserted")):
        in_spans = pc.sum(spans[column]).as_py() or 0
        in_ledger = pc.sum(ledger[f"{name}_bytes"]).as_py() or 0
        if in_spans != in_ledger:
            found.problems.append(
                f"{partition.name}: spans have {in_spans} bytes {name}, the ledger {in_ledger}"
            )


def _stored_images(run: Run, partition: PartitionRecords, found: Verification) -> set[bytes]:
    """The digests of a partition's images, each checked against the bytes."""
    stored: set[bytes] = set()
    if "images" not in partition.read.outputs:
        return stored
    output = partition.read.outputs["images"]
    _check_schema(run, output, IMAGES, found)
    for group in run.groups(partition.read, "images"):
        for digest, data in zip(group["digest"].to_pylist(), group["data"], strict=True):
            if blake3.blake3(memoryview(data.as_buffer())).digest() != digest:
                found.problems.append(
                    f"{output.path}: an image does not hash to its digest {digest.hex()[:16]}…"
                )
            if digest in stored:
                found.problems.append(f"{output.path}: holds image {digest.hex()[:16]}… twice")
            stored.add(digest)
    return stored


def _check_content(
    group: pa.Table, partition: PartitionRecords, stored: set[bytes], found: Verification
) -> None:
    """Ids are those of text and images; each mark has an image, and each image its bytes."""
    texts = group["text"].cast(pa.large_binary())
    images, offsets = flat_list(group["images"])
    digests = images.field("digest").to_pylist() if len(images) else []
    missing = set(digests) - stored
    if missing:
        found.problems.append(
            f"{partition.name}: {len(missing)} images of its documents are not stored, "
            f"{min(missing).hex()[:16]}… among them"
        )
    for row, (claimed, text) in enumerate(zip(group["content_id"].to_pylist(), texts, strict=True)):
        held = digests[offsets[row] : offsets[row + 1]]
        data = text.as_buffer()
        if content_id(data, held) != claimed:
            found.problems.append(
                f"{partition.name}: a text does not hash to its content_id {claimed.hex()}"
            )
            return
        if held and data.to_pybytes().count(MARK.encode()) != len(held):
            found.problems.append(
                f"{partition.name}: a text with {len(held)} images has another number of marks"
            )
            return


def _check_shards(
    run: Run, found: Verification, roots: dict[str, list[int]], index_ids: list[int]
) -> int:
    """Check shards against the index; return the bytes of text they hold."""
    kept_bytes = 0
    for shard in run.shards:
        output = shard.tokenize.outputs["index"]
        _check_schema(run, output, INDEX, found)
        index = run.table(shard.tokenize, "index")
        for role, rows, record, columns in (
            ("content", content_rows, shard.pack, ("doc_id", "text_bytes", "images")),
            ("tokens", token_rows, shard.tokenize, ("tokens",)),
        ):
            with run.store.stream(record.outputs["shard"].path) as stream:
                root, differ = _shard_rows(index, rows(stream, shard.name), columns)
            roots[role].append(root)
            for column in differ:
                found.problems.append(
                    f"{output.path}: column {column} is not what shard {shard.name} holds"
                )
        if shard.tier is not None:
            check_tiered(run, shard, index, found.problems)
        index_ids.append(rows_root(index.select(["doc_id"])))
        kept_bytes += int(pc.sum(index["text_bytes"]).as_py() or 0)
    return kept_bytes


def _shard_rows(
    index: pa.Table, tables: Iterable[pa.Table], columns: tuple[str, ...]
) -> tuple[int, list[str]]:
    """The root of a shard's rows, and which of ``columns`` differ between index and shard."""
    roots = []
    differ: set[str] = set()
    seen = 0
    for table in tables:
        roots.append(table_root(table))
        part = index.slice(seen, table.num_rows)
        seen += table.num_rows
        if "images" in columns:
            table = _with_index_images(table)
        differ |= {c for c in columns if part[c].to_pylist() != table[c].to_pylist()}
    if seen != index.num_rows:
        differ |= set(columns)
    return add_roots(roots), [column for column in columns if column in differ]


def _with_index_images(table: pa.Table) -> pa.Table:
    """Rows of a content shard with ``images`` as the index is to have them."""
    if "placed" not in table.column_names:
        empty = empty_lists(table.num_rows, INDEX.schema.field("images").type)
        return table.append_column("images", empty)
    images = with_token_counts(table["placed"])
    return table.drop_columns(["images"]).append_column("images", images)


def _check_laws(source: str, counts: _Counts, found: Verification) -> None:
    records, documents, sizes = counts.records, counts.documents, counts.bytes
    laws = (
        ("records seen = unreadable + read", records["seen"],
         records["unreadable"] + records["read"]),
        ("documents read = kept + dropped", documents["read"],
         documents["kept"] + documents["dropped"]),
        ("text bytes read + inserted = kept + dropped + removed",
         sizes["read"] + sizes["inserted"], sizes["kept"] + sizes["dropped"] + sizes["removed"]),
    )  # fmt: skip
    for law, left, right in laws:
        if left != right:
            found.problems.append(f"{source}: {law} does not hold: {left} is not {right}")


def tell(found: Verification) -> str:
    """The outcome in plain words."""
    result = found.as_json()
    lines = []
    for name, counts in {**result["sources"], "all": result}.items():
        records, documents, sizes = counts["records"], counts["documents"], counts["bytes"]
        lines.append(
            f"{name:24} records {records['seen']:>8,} = {records['unreadable']:,} unreadable + "
            f"{records['read']:,} read; documents {documents['kept']:,} kept + "
            f"{documents['dropped']:,} dropped; bytes {sizes['read']:,} + {sizes['inserted']:,} = "
            f"{sizes['kept']:,} + {sizes['dropped']:,} + {sizes['removed']:,}"
        )
    lines += [f"logical root  {found.root_hash}", f"file root     {found.file_root}"]
    lines += [f"PROBLEM  {problem}" for problem in found.problems]
    lines.append("verified: the run is what it claims" if not found.problems else "NOT verified")
    return "\n".join(lines)
