"""Content shards: WebDataset tars of many whole documents a sample.

A sample is two members, ``KEY.json`` and ``KEY.txt``. The text of its documents is joined without
separators in ``KEY.txt`` (UTF-8); ``KEY.json`` says what each is and where:

    {"documents": {"id": [hex, …], "start": [0, …], "bytes": [n, …], "source": […], "uri": […],
                   "license": […], "lang": […]}}

Columns, not one object a document: half the bytes, and one call makes a data frame of it.
``start`` and ``bytes`` count bytes of the member, not characters.

A shard whose documents have images or loss spans has two columns more:

    "images": [[{"member": "000000.png", "width": w, "height": h, "digest": hex}, …], …],
    "loss": [[start, end, start, end, …], …]

The images of a sample are members before its JSON, in document order: ``KEY.000000.png`` and so on,
with their original bytes. Each stands in the text as U+FFFC. Loss spans count bytes of the document
from its first; a document without any carries loss in all of its text.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dataflow.lists import empty_lists
from dataflow.shards.errors import ShardError
from dataflow.shards.tar import Member, TarWriter, read_members
from vl_data.images import MARK

SAMPLE_BYTES = 256 << 10
"""Text of a sample, at most; a longer document has a sample of its own."""
MAX_SAMPLES = 10**6
META = ("source", "uri", "license", "lang")
"""What a shard says of each document, beside its id and place."""
LAYOUT = ("id", "start", "bytes", *META)
LISTS = ("images", "loss")
"""The columns of shards whose documents have any."""

SUFFIXES = {"jpeg": "jpg"}
"""Of members of a format that is not named like its suffix."""

PLACED = pa.struct(
    [
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ]
)
"""An image in a content shard: its size in pixels, and where its data lie, absolute in the tar."""

PLACES = pa.schema(
    [
        pa.field("member", pa.string(), nullable=False),
        pa.field("doc_id", pa.binary(16), nullable=False),
        pa.field("text_offset", pa.int64(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("images", pa.list_(pa.field("element", PLACED, nullable=False)), nullable=False),
    ]
)
"""Where each document of a content shard lies. ``text_offset`` is absolute in the tar."""

_PICTURE = re.compile(r"(.+)\.([0-9]{6}\.[a-z0-9]+)")


def shard_name(split: str, number: int) -> str:
    """The name of a shard without its suffix: ``train-000000``."""
    if not 0 <= number < 10**6:
        raise ShardError(f"shard number {number} is not below 1,000,000; use larger shards")
    return f"{split}-{number:06d}"


def write_content_shard(
    sink: Any,
    rows: Iterable[tuple[bytes, bytes, Mapping[str, Any]]],
    name: str,
    *,
    sample_bytes: int = SAMPLE_BYTES,
    lists: bool = False,
) -> pa.Table:
    """Write documents into a content shard, in the order given.

    The bytes depend on the rows, ``name`` and ``sample_bytes`` only. Memory: one sample and its
    largest document, and some 60 bytes a document for the result.

    Parameters
    ----------
    sink : path or binary file
        A file stays open.
    rows : iterable of (doc_id, text, meta)
        16 bytes; UTF-8 bytes; the values of `META` (strings, or None where unknown); with
        ``lists`` also ``images`` (a list of mappings with ``digest``, ``format``, ``width``,
        ``height`` and ``data``) and ``loss`` (a flat list of offsets).
    name : str
        The shard's name; sample keys are ``NAME-000000`` and so on.
    sample_bytes : int
        Documents join a sample while its text and images stay within this.
    lists : bool
        The shard has the columns `LISTS`.

    Returns
    -------
    pa.Table of `PLACES`, one row a document, in order

    Raises
    ------
    ShardError
        If an id is not 16 bytes, the shard needs more than a million samples, or a document's marks
        are not as many as its images.
    """
    with opened(sink, "wb") as file:
        writer = _ContentWriter(file, name, lists)
        held = 0
        for doc_id, text, meta in rows:
            if len(doc_id) != 16:
                raise ShardError(f"{name}: found a doc_id of {len(doc_id)} bytes, expected 16")
            size = len(text)
            if lists:
                size += sum(len(image["data"]) for image in meta["images"])
                _check_marks(text, len(meta["images"]), f"{name}: document {doc_id.hex()}")
            if writer.texts and held + size > sample_bytes:
                writer.flush()
                held = 0
            writer.ids.append(doc_id)
            writer.texts.append(text)
            writer.metas.append(meta)
            held += size
        writer.flush()
        writer.tar.close()
    return writer.places()


def _check_marks(text: bytes, images: int, where: str) -> None:
    marks = text.count(MARK.encode())
    if images and marks != images:
        raise ShardError(f"{where}: found {marks} marks in its text, expected one for each of its "
                         f"{images} images")  # fmt: skip


class _ContentWriter:
    """The sample being filled, and where the documents before it went."""

    def __init__(self, sink: Any, name: str, lists: bool) -> None:
        self.tar = TarWriter(sink)
        self._name = name
        self._lists = lists
        self._images: list[list[dict[str, int]]] = []
        self.ids: list[bytes] = []
        self.texts: list[bytes] = []
        self.metas: list[Mapping[str, Any]] = []
        self._keys: list[str] = []
        self._counts: list[int] = []
        self._ids: list[bytes] = []
        self._offsets: list[npt.NDArray[np.int64]] = []
        self._sizes: list[npt.NDArray[np.int64]] = []

    def flush(self) -> None:
        """Write the sample, if it holds any document."""
        if not self.ids:
            return
        if len(self._keys) >= MAX_SAMPLES:
            raise ShardError(f"{self._name}: more than {MAX_SAMPLES:,} samples; use more shards")
        key = f"{self._name}-{len(self._keys):06d}"
        sizes = np.fromiter(map(len, self.texts), np.int64, len(self.texts))
        starts = np.cumsum(sizes) - sizes
        columns: dict[str, Any] = {
            "id": [doc_id.hex() for doc_id in self.ids],
            "start": starts,
            "bytes": sizes,
        }
        columns.update({name: [meta.get(name) for meta in self.metas] for name in META})
        if self._lists:
            columns["images"] = self._add_images(key)
            columns["loss"] = [meta["loss"] for meta in self.metas]
        self.tar.add(
            f"{key}.json",
            orjson.dumps({"documents": columns}, option=orjson.OPT_SERIALIZE_NUMPY),
        )
        start = self.tar.add(f"{key}.txt", b"".join(self.texts))
        self._keys.append(key)
        self._counts.append(len(self.ids))
        self._ids.append(b"".join(self.ids))
        self._offsets.append(starts + start)
        self._sizes.append(sizes)
        self.ids, self.texts, self.metas = [], [], []

    def _add_images(self, key: str) -> list[list[dict[str, Any]]]:
        """Write the images of the sample; returns the column ``images``."""
        described: list[list[dict[str, Any]]] = []
        number = 0
        for meta in self.metas:
            column, placed = [], []
            for image in meta["images"]:
                suffix = SUFFIXES.get(image["format"], image["format"])
                member = f"{number:06d}.{suffix}"
                number += 1
                size = {"width": image["width"], "height": image["height"]}
                offset = self.tar.add(f"{key}.{member}", image["data"])
                column.append({"member": member, **size, "digest": image["digest"].hex()})
                placed.append({**size, "bytes": len(image["data"]), "offset": offset})
            described.append(column)
            self._images.append(placed)
        return described

    def places(self) -> pa.Table:
        """The table of `PLACES`."""
        empty = [np.zeros(0, np.int64)]
        sample = np.repeat(np.arange(len(self._keys)), self._counts)
        keys = pa.array(self._keys, pa.string())
        kind = PLACES.field("images").type
        return pa.table(
            [
                keys.take(pa.array(sample)),
                ids_array(b"".join(self._ids)),
                pa.array(np.concatenate(self._offsets or empty)),
                pa.array(np.concatenate(self._sizes or empty)),
                pa.array(self._images, kind) if self._lists else empty_lists(len(sample), kind),
            ],
            schema=PLACES,
        )


@dataclass(frozen=True)
class ContentSample:
    """One sample of a content shard.

    Attributes
    ----------
    key : str
    documents : dict of str to list
        The columns of ``KEY.json``; `LISTS` are there where the shard has them.
    data : bytes
        ``KEY.txt``.
    offset : int
        Of its first byte in the tar.
    members : dict of str to Member
        The images by the name that ``documents["images"]`` has for them.
    """

    key: str
    documents: dict[str, list[Any]]
    data: bytes
    offset: int
    members: Mapping[str, Member] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.documents["id"])

    def text(self, i: int) -> bytes:
        """The text of document ``i``, UTF-8."""
        start = self.documents["start"][i]
        return self.data[start : start + self.documents["bytes"][i]]

    def images(self, i: int) -> list[Member]:
        """The images of document ``i``, in the order of their marks."""
        found = self.documents.get("images")
        return [self.members[image["member"]] for image in found[i]] if found else []

    def pieces(self, i: int) -> list[str]:
        """The text of document ``i`` between its images: what stands for those is no text."""
        text = self.text(i).decode()
        return text.split(MARK) if self.images(i) else [text]

    def loss(self, i: int) -> list[int]:
        """The loss spans of document ``i``, flat; empty: all of it carries loss."""
        found = self.documents.get("loss")
        return list(found[i]) if found else []

    def doc_id(self, i: int) -> bytes:
        """The id of document ``i``, 16 bytes."""
        return bytes.fromhex(self.documents["id"][i])


def read_content_shard(source: Any, where: str | None = None) -> Iterator[ContentSample]:
    """The samples of a content shard, in order, with memory for one.

    Parameters
    ----------
    source : path or binary file
    where : str, optional
        Its name in errors.

    Raises
    ------
    ShardError
        If the tar is damaged (`read_members`), or a sample is not as the module says.
    """
    where = where or str(source if isinstance(source, str | Path) else "content shard")
    with opened(source, "rb") as file:
        members = read_members(file, where)
        for first in members:
            pictures, described = _pictures(first, members, where)
            key = described.name.removesuffix(".json")
            text = next(members, None)
            if key == described.name or text is None or text.name != f"{key}.txt":
                found = f"{described.name} and {text.name if text else 'the end'}"
                raise ShardError(f"{where}: found {found}, expected KEY.json and KEY.txt")
            at = f"{where}: {described.name}"
            documents = _parse(described.data, len(text.data), at)
            sample = ContentSample(key, documents, text.data, text.offset, pictures)
            _check_lists(sample, at)
            yield sample


def _pictures(
    first: Member, members: Iterator[Member], where: str
) -> tuple[dict[str, Member], Member]:
    """The images at the beginning of a sample, and the member after them."""
    found: dict[str, Member] = {}
    key = None
    member = first
    while (matched := _PICTURE.fullmatch(member.name)) is not None:
        key = key or matched[1]
        found[matched[2]] = member
        following = next(members, None)
        if following is None or not following.name.startswith(f"{key}."):
            ends = following.name if following else "the end"
            raise ShardError(f"{where}: found {ends} after {member.name}, expected {key}.json")
        member = following
    return found, member


def _parse(data: bytes, size: int, where: str) -> dict[str, list[Any]]:
    try:
        documents = orjson.loads(data)["documents"]
        columns: dict[str, list[Any]] = {name: documents[name] for name in LAYOUT}
        starts = np.array(columns["start"], dtype=np.int64)
        sizes = np.array(columns["bytes"], dtype=np.int64)
        ids = all(len(bytes.fromhex(doc_id)) == 16 for doc_id in columns["id"])
        columns |= {name: documents[name] for name in LISTS if name in documents}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ShardError(f"{where}: not the JSON of a content sample: {error!r}") from error
    if not ids or len({len(column) for column in columns.values()}) != 1 or not len(starts):
        raise ShardError(f"{where}: its columns differ in length, or an id is not 32 hex digits")
    whole = (
        starts[0] == 0
        and (sizes >= 0).all()
        and (starts[1:] == (starts + sizes)[:-1]).all()
        and starts[-1] + sizes[-1] == size
    )
    if not whole:
        raise ShardError(f"{where}: its documents do not cover the {size} bytes of text exactly")
    return columns


def _check_lists(sample: ContentSample, where: str) -> None:
    """Images are those of the members, each once and in order, one a mark; spans lie in texts."""
    if not sample.members and not sample.documents.keys() & set(LISTS):
        return
    try:
        named = [i["member"] for images in sample.documents.get("images", ()) for i in images]
        if named != list(sample.members):
            raise ShardError(
                f"{where}: found images {named[:3]}… and members {list(sample.members)[:3]}…, "
                "expected each image to be the next member"
            )
        for i in range(len(sample)):
            images, loss = sample.images(i), np.array(sample.loss(i), np.int64)
            if images:
                _check_marks(sample.text(i), len(images), f"{where}: document {i}")
            if (
                len(loss) % 2
                or (np.diff(np.concatenate([[0], loss])) < 0).any()
                or (len(loss) and loss[-1] > sample.documents["bytes"][i])
            ):
                raise ShardError(f"{where}: the loss spans of document {i} do not lie in its text")
    except (KeyError, TypeError, ValueError) as error:
        raise ShardError(f"{where}: not the JSON of a content sample: {error!r}") from error


def text_at(source: Any, text_offset: int, text_bytes: int) -> str:
    """The text of one document, by a seek and a range read of a content tar.

    Parameters
    ----------
    source : seekable binary file
    text_offset, text_bytes : int
        As in the index.
    """
    source.seek(text_offset)
    data = source.read(text_bytes)
    if len(data) != text_bytes:
        raise ShardError(f"found {len(data)} bytes at {text_offset}, expected {text_bytes}")
    return bytes(data).decode()


def ids_array(data: bytes) -> pa.Array:
    """Ids, 16 bytes each, as an Arrow array."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(data) // 16, [None, pa.py_buffer(data)]
    )


@contextlib.contextmanager
def opened(file: Any, mode: str) -> Iterator[Any]:
    """``file`` itself if it is open; else the path opened, and closed at the end."""
    if not isinstance(file, str | Path):
        yield file
        return
    path = Path(file)
    if "w" in mode:
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as opened:
        yield opened
