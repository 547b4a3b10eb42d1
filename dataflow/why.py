"""``why``: one document's whole story, from a few range reads."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pyarrow.compute as pc

from dataflow.ids import uri_key
from dataflow.run import Run
from dataflow.sideindex import find_entries
from dataflow.steps.lookup import ABSENT
from dataflow.unread import unread_beside, unread_parts, unread_records
from quality.tiers import UNSCORED

SNIPPET_CHARS = 400
MAX_STORIES = 20


class NotFound(Exception):
    """No document of the run has that id or uri."""


def find_documents(run: Run, name: str) -> list[bytes]:
    """The ids that ``name`` stands for: a 32-digit id, a uri, or an address in the metadata.

    Raises
    ------
    NotFound
        If there is none.
    """
    if re.fullmatch(r"[0-9a-fA-F]{32}", name):
        key = bytes.fromhex(name)
        if len(find_entries(run, "documents", [key])[0]):
            return [key]
    (found,) = find_entries(run, "uris", [uri_key(name)])
    ids = sorted({entry["doc"].tobytes() for entry in found})
    if not ids:
        raise NotFound(
            f"{name}: found no document with this id or uri in {run.store.uri}; expected 32 hex "
            "digits, a uri as in documents.uri (such as stdlib:json/decoder.py), or a page address"
        )
    return ids


def find_unread(run: Run, name: str, ids: list[bytes]) -> list[dict[str, Any]]:
    """Rows of records at the uri ``name`` that are no documents, beside those that are (``ids``).

    Where there are documents, only their partitions are searched; where there are none, all are,
    and parts of records are found too (``URI#image-2``).
    """
    if not ids:
        return unread_records(run, name, parts=True)
    entries = [find_entries(run, "documents", [key])[0][0] for key in ids[:MAX_STORIES]]
    names = {run.partitions[int(entry["partition"])].name for entry in entries}
    return unread_beside(run, names, name)


def story(run: Run, doc_id: bytes) -> dict[str, Any]:
    """Everything the run knows of one document, as JSON values."""
    entry = find_entries(run, "documents", [doc_id])[0][0]
    partition = run.partitions[int(entry["partition"])]
    row = int(entry["row"])
    document = run.row(partition.read, "documents", row)
    disposition = run.row(partition.settle, "dispositions", row)
    signals: dict[str, Any] = {}
    for record, role in run.signals(partition):
        signals |= run.row(record, role, row)
    told: dict[str, Any] = {
        "doc_id": doc_id.hex(),
        "partition": partition.name,
        "row": row,
        "document": _plain({k: v for k, v in document.items() if k != "text"}),
        "disposition": _plain(disposition),
        "signals": signals,
        "left_out": unread_parts(run, partition, document["uri"], document["offset"]),
        "spans": [],
        "index": None,
        "snippet": document["text"][:SNIPPET_CHARS],
    }
    if disposition["removed_bytes"]:
        spans = run.table(partition.settle, "spans")
        told["spans"] = _plain(spans.filter(pc.equal(spans["doc_id"], doc_id)).to_pylist())
    if int(entry["part"]) != ABSENT:
        shard = run.shards[int(entry["part"])]
        place = run.row(shard.index, "index", int(entry["part_row"]))
        told["index"] = _plain(place)
        told["files"] = {
            "content": shard.pack.outputs["shard"].path,
            "tokens": shard.tokenize.outputs["shard"].path,
        }
    if disposition["survivor"] is not None:
        other = find_entries(run, "documents", [disposition["survivor"]])[0][0]
        survivor = run.partitions[int(other["partition"])]
        values = run.row(survivor.read, "documents", int(other["row"]))
        told["survivor"] = {
            "doc_id": disposition["survivor"].hex(),
            "source": values["source"],
            "uri": values["uri"],
        }
    return told


def _plain(value: Any) -> Any:
    """JSON values: ids become hex digits, times ISO 8601."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value


def _image(image: dict[str, Any]) -> str:
    told = (
        f"{image['ref']}, {image['format']}, {image['width']} × {image['height']} pixels, "
        f"{image['bytes']:,} bytes, {image['digest'][:16]}…"
    )
    for name in ("alt", "caption"):
        if image[name]:
            told += f", {name}: {image[name][:80]!r}"
    return told


def _language(signals: dict[str, Any]) -> str:
    label, score = signals["lang.label"], signals["lang.score"]
    return "not identified" if label is None else f"{label} ({score:.4f})"


def _reward(signals: dict[str, Any]) -> list[str]:
    """A line for the scores of the text, one for those of its images, where there are any."""
    lines = []
    depth = signals.get("reward.depth")
    if depth is not None:
        lines.append(
            f"  reward      {signals['reward.category']}: depth {depth:.6g}, helpfulness "
            f"{signals['reward.helpfulness']:.6g}, coherence {signals['reward.coherence']:.6g}"
        )
    elif "reward.depth" in signals:
        lines.append("  reward      not scored")
    images = signals.get("image_reward.score")
    if images is not None:
        lines.append(f"  captions    worth {images:.6g} points")
    return lines


def tell(told: dict[str, Any]) -> str:
    """The story in plain words."""
    document, disposition = told["document"], told["disposition"]
    lines = [
        f"{document['source']}  {document['uri']}  (offset {document['offset']})",
        f"  id          {told['doc_id']}",
        f"  content     {document['content_id']}",
        f"  read as     {document['media_type']}, {disposition['text_bytes']:,} bytes of text, "
        f"partition {told['partition']} row {told['row']}",
        f"  language    {_language(told['signals'])}",
        f"  license     {document['license']}",
    ]
    lines += _reward(told["signals"])
    if document["rights"]:
        lines.append(f"  rights      {', '.join(document['rights'])}")
    if document["captured_at"]:
        lines.append(f"  captured    {document['captured_at']}")
    for number, image in enumerate(document["images"]):
        lines.append(f"  image {number:<6}{_image(image)}")
    for row in told["left_out"]:
        part = row["uri"].removeprefix(document["uri"])
        lines.append(f"  left out    {part}: {row['reason']}: {row['detail']}")
    if document["metadata"]:
        address = orjson.loads(document["metadata"]).get("url")
        if address:
            lines.append(f"  address     {address}")
    if disposition["kept"]:
        place = told["index"]
        lines.append(
            f"  KEPT        {place['split']}, shard {place['shard']}, sample {place['member']}, "
            f"{place['tokens']:,} tokens"
            + ("" if place["tier"] == UNSCORED else f", tier {place['tier']}")
        )
        lines.append(
            f"  text at     {told['files']['content']} bytes {place['text_offset']:,} to "
            f"{place['text_offset'] + place['text_bytes']:,}"
        )
        for span in told["spans"]:
            lines.append(
                f"  removed     {span['length']:,} bytes at {span['start']:,} ({span['rule']})"
            )
    else:
        why = f"  DROPPED     by {disposition['step']}: {disposition['rule']}"
        if disposition["value"] is not None:
            why += f", value {disposition['value']:.6g}"
        if disposition["threshold"] is not None:
            why += f", threshold {disposition['threshold']:.6g}"
        lines.append(why)
    if "survivor" in told:
        lines.append(
            f"  survivor    {told['survivor']['source']}  {told['survivor']['uri']}  "
            f"({told['survivor']['doc_id']})"
        )
    if disposition["cluster"]:
        lines.append(f"  cluster     {disposition['cluster']}")
    lines.append("  begins      " + told["snippet"][:160].replace("\n", " ⏎ "))
    return "\n".join(lines)
