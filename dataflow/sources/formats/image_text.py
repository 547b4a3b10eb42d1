"""``image-text``: pairs of an image and its caption, in whichever file they come.

Tars (WebDataset, img2dataset), Parquet and Arrow (img2dataset, Hugging Face's datasets), and JSON,
JSON Lines or CSV beside a folder of images.
"""

from __future__ import annotations

from dataflow.sources.compression import strip_suffix
from dataflow.sources.formats import jsonl, pair_rows, pair_tars, parquet
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Item, Outcomes

_CSV = (".csv", ".tsv", ".tab")
_LINES = (".jsonl", ".ndjson")


def read(opened: Opened) -> Outcomes:
    """A record a pair: see ``dataflow.sources.formats.pairs``.

    Raises
    ------
    Refusal
        ``media-type`` for a file of another kind, and what keeps a whole file from being read.
    """
    name = strip_suffix(opened.item.uri.lower())
    head = opened.head(8)
    if not head and opened.item.size == 0:
        raise Refusal("empty")
    if head.startswith(b"PAR1"):
        yield from pair_rows.read_parquet(opened)
    elif head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        yield from pair_rows.read_arrow(opened)
    elif pair_tars.is_tar(opened):
        yield from pair_tars.read(opened)
    elif name.endswith(_CSV):
        yield from pair_rows.read_csv(opened)
    elif head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") or name.endswith(_LINES):
        yield from pair_rows.read_json(opened)
    else:
        expected = "a tar, Parquet, Arrow, JSON, JSON Lines or CSV file"
        raise Refusal("media-type", f"found bytes that begin {head.hex(' ')}, expected {expected}")


def cut(opened: Opened, partition_bytes: int) -> list[Item]:
    """Row groups of Parquet, ranges of JSON Lines; other files stay whole."""
    if opened.head(4) == b"PAR1":
        return parquet.cut(opened, partition_bytes)
    if strip_suffix(opened.item.uri.lower()).endswith(_LINES):
        return jsonl.cut(opened, partition_bytes)
    return [opened.item]
