"""``lookup``: the side index that answers ``why`` in a few range reads.

Two files of fixed-width entries sorted by key, found by interpolation search: keys are hashes, so
their place is nearly proportional to their value.

* ``documents``: ``doc_id`` (16 bytes), partition, row, index part, index row (uint32 each,
  0xFFFFFFFF where the document is not in the index): 32 bytes.
* ``uris``: the hash of a uri, or of the address in a document's metadata (16 bytes), and the
  ``doc_id`` (16 bytes): 32 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from dataflow.ids import uri_key
from dataflow.steps.columns import id_bytes
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


def _keys(column: Any) -> np.ndarray:
    return id_bytes(column).view(">u8").reshape(-1, 2)


def _sorted(entries: np.ndarray, *fields: str) -> np.ndarray:
    """Entries in the order of their ``fields``, each a pair of big-endian halves."""
    # np.lexsort reads big-endian numbers as if they were native: they are converted first.
    keys = [entries[f][:, half].astype(np.uint64) for f in fields for half in (0, 1)]
    return entries[np.lexsort(keys[::-1])]


def _documents(context: StepContext) -> np.ndarray:
    parts = []
    for number, record in enumerate(context.inputs("documents")):
        keys = _keys(context.read_table(record, "documents", ["doc_id"])["doc_id"])
        entries = np.zeros(len(keys), ENTRY)
        entries["key"], entries["partition"] = keys, number
        entries["row"] = np.arange(len(keys))
        entries["part"] = entries["part_row"] = ABSENT
        parts.append(entries)
    # Without a dtype, concatenation would turn the big-endian keys into native ones.
    entries = np.concatenate([np.zeros(0, ENTRY), *parts], dtype=ENTRY)
    entries = _sorted(entries, "key")
    same = (entries["key"][1:] == entries["key"][:-1]).all(axis=1)
    if same.any():
        twice = entries["key"][:-1][same][0].astype(">u8").tobytes().hex()
        raise DuplicateIds(
            f"{int(same.sum())} documents have an id that another has, {twice} among them: "
            "found the same uri and offset twice in one source; check its paths for overlap"
        )
    high = entries["key"][:, 0].astype(np.uint64)
    for number, record in enumerate(context.inputs("index")):
        keys = _keys(context.read_table(record, "index", ["doc_id"])["doc_id"])
        at = np.searchsorted(high, keys[:, 0].astype(np.uint64))
        low = keys[:, 1]
        # Two ids that agree in 64 bits are next to each other: step over them.
        while (behind := entries["key"][at][:, 1] != low).any():
            at[behind] += 1
        entries["part"][at] = number
        entries["part_row"][at] = np.arange(len(keys))
    return entries


def _uris(context: StepContext) -> np.ndarray:
    parts = []
    for record in context.inputs("documents"):
        for table in context.read_groups(record, "documents", ["doc_id", "uri", "metadata"]):
            ids = id_bytes(table["doc_id"])
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
            entries = np.zeros(len(found), URI_ENTRY)
            entries["key"] = np.frombuffer(b"".join(found), ">u8").reshape(-1, 2)
            entries["doc"] = ids[rows].view(">u8").reshape(-1, 2)
            parts.append(entries)
    entries = np.concatenate([np.zeros(0, URI_ENTRY), *parts], dtype=URI_ENTRY)
    return _sorted(entries, "key", "doc")


def run(context: StepContext) -> dict[str, Any]:
    """Write both files."""
    documents = _documents(context)
    with context.create(
        "documents", context.path("index/lookup", "documents.bin"), kind="lookup"
    ) as sink:
        sink.write(documents.tobytes())
    uris = _uris(context)
    with context.create("uris", context.path("index/lookup", "uris.bin"), kind="lookup") as sink:
        sink.write(uris.tobytes())
    return {"documents": len(documents), "uris": len(uris)}


STEP = Step("lookup", run)
