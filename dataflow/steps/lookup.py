"""``lookup``: the side index that answers ``why`` in a few range reads.

Two files of fixed-width entries sorted by key, found by interpolation search: keys are hashes, so
their place is nearly proportional to their value.

* ``documents``: ``doc_id`` (16 bytes), partition, row, index part, index row (uint32 each,
  0xFFFFFFFF where the document is not in the index): 32 bytes.
* ``uris``: the hash of a uri, or of the address in a document's metadata (16 bytes), and the
  ``doc_id`` (16 bytes): 32 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from dataflow.external import Records, sorted_records
from dataflow.ids import uri_key
from dataflow.steps.columns import id_words
from dataflow.store import HashingWriter
from dataflow.tasks import Step, StepContext

ENTRY = np.dtype(
    [
        ("key", ">u8", 2),
        ("partition", "<u4"),
        ("row", "<u4"),
        ("part", "<u4"),
        ("part_row", "<u4"),
    ]
)
URI_ENTRY = np.dtype([("key", ">u8", 2), ("doc", ">u8", 2)])
ABSENT = 0xFFFFFFFF


class DuplicateIds(Exception):
    """Two records have one ``doc_id``: the same file is in one source twice."""


_DOCUMENT, _PLACE = 0, 1
_MET = np.dtype([("high", "u8"), ("low", "u8"), ("kind", "u1"), ("number", "u4"), ("row", "u4")])
"""A row of ``documents`` or, behind it in the order, of the index: id, number of its file, row."""

_NAMED = np.dtype([("high", "u8"), ("low", "u8"), ("doc_high", "u8"), ("doc_low", "u8")])


def _met(context: StepContext) -> Iterator[Records]:
    """The ids of all documents, and of all that are in the index."""
    for kind, role in ((_DOCUMENT, "documents"), (_PLACE, "index")):
        for number, record in enumerate(context.inputs(role)):
            ids = context.read_table(record, role, ["doc_id"])["doc_id"]
            met = np.empty(len(ids), _MET)
            met["high"], met["low"] = id_words(ids)
            met["kind"], met["number"], met["row"] = kind, number, np.arange(len(ids))
            yield met


def _whole_groups(chunks: Iterable[Records]) -> Iterator[Records]:
    """Cut sorted records so that each array begins with a document and has all of its places."""
    ahead = np.empty(0, _MET)
    for chunk in chunks:
        joined = np.concatenate([ahead, chunk])
        documents = np.flatnonzero(joined["kind"] == _DOCUMENT)
        cut = int(documents[-1]) if len(documents) else 0
        ahead = joined[cut:]
        if cut:
            yield joined[:cut]
    if len(ahead):
        yield ahead


def _ids(records: Records) -> np.ndarray:
    """The two halves of each id, ``uint64[n, 2]``."""
    return np.stack([records["high"], records["low"]], axis=1)


def _write_documents(context: StepContext, sink: HashingWriter) -> int:
    """Write the entries of ``documents``; returns how many there are.

    Raises
    ------
    DuplicateIds
        If two documents have one id.
    """
    chunks = sorted_records(
        _met(context), list(_MET.names or ()), context.scratch, "ids", context.local["memory_bytes"]
    )
    count = repeated = 0
    twice: str | None = None
    last: np.ndarray | None = None
    for met in _whole_groups(chunks):
        is_document = met["kind"] == _DOCUMENT
        of = np.cumsum(is_document) - 1
        documents, places, of = met[is_document], met[~is_document], of[~is_document]
        if len(of) and (of[0] < 0 or (_ids(documents[of]) != _ids(places)).any()):
            raise ValueError("the index holds a document that no partition has; build it again")
        ids = _ids(documents)
        same = np.zeros(len(documents), bool)
        same[1:] = (ids[1:] == ids[:-1]).all(axis=1)
        same[0] = last is not None and (ids[0] == last).all()
        last = ids[-1]
        if same.any() and twice is None:
            twice = ids[same][0].astype(">u8").tobytes().hex()
        repeated += int(same.sum())
        entries = np.zeros(len(documents), ENTRY)
        entries["key"] = ids
        entries["partition"], entries["row"] = documents["number"], documents["row"]
        entries["part"] = entries["part_row"] = ABSENT
        entries["part"][of], entries["part_row"][of] = places["number"], places["row"]
        sink.write(entries.view(np.uint8).data)
        count += len(entries)
    if twice is not None:
        raise DuplicateIds(
            f"{repeated} documents have an id that another has, {twice} among them: "
            "found the same uri and offset twice in one source; check its paths for overlap"
        )
    return count


def _named(context: StepContext) -> Iterator[Records]:
    """The hash of each uri, and of each address in the metadata, and whose it is."""
    for record in context.inputs("documents"):
        for table in context.read_groups(record, "documents", ["doc_id", "uri", "metadata"]):
            found: list[bytes] = []
            rows: list[int] = []
            for row, (uri, metadata) in enumerate(
                zip(table["uri"].to_pylist(), table["metadata"].to_pylist(), strict=True)
            ):
                found.append(uri_key(uri))
                rows.append(row)
                address = orjson.loads(metadata).get("url") if metadata else None
                if isinstance(address, str) and address != uri:
                    found.append(uri_key(address))
                    rows.append(row)
            keys = np.frombuffer(b"".join(found), ">u8").reshape(-1, 2)
            high, low = id_words(table["doc_id"])
            named = np.empty(len(found), _NAMED)
            named["high"], named["low"] = keys[:, 0], keys[:, 1]
            named["doc_high"], named["doc_low"] = high[rows], low[rows]
            yield named


def _write_uris(context: StepContext, sink: HashingWriter) -> int:
    """Write the entries of ``uris``; returns how many there are."""
    count = 0
    for named in sorted_records(
        _named(context),
        list(_NAMED.names or ()),
        context.scratch,
        "uris",
        context.local["memory_bytes"],
    ):
        entries = np.zeros(len(named), URI_ENTRY)
        entries["key"][:, 0], entries["key"][:, 1] = named["high"], named["low"]
        entries["doc"][:, 0], entries["doc"][:, 1] = named["doc_high"], named["doc_low"]
        sink.write(entries.view(np.uint8).data)
        count += len(entries)
    return count


def run(context: StepContext) -> dict[str, Any]:
    """Write both files."""
    counts = {}
    for role, write in (("documents", _write_documents), ("uris", _write_uris)):
        path = context.path("index/lookup", f"{role}.bin")
        with context.create(role, path, kind="lookup") as sink:
            counts[role] = write(context, sink)
    return counts


STEP = Step("lookup", run)
