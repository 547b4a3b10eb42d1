"""Content shards: WebDataset tars of many whole documents a sample.

A sample is two members, ``KEY.json`` and ``KEY.txt``. The text of its documents is joined without
separators in ``KEY.txt`` (UTF-8); ``KEY.json`` says what each is and where:

    {"documents": {"id": [hex, …], "start": [0, …], "bytes": [n, …], "source": […], "uri": […],
                   "license": […], "lang": […]}}

Columns, not one object a document: half the bytes, and one call makes a data frame of it.
``start`` and ``bytes`` count bytes of the member, not characters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dataflow.shards.errors import ShardError
from dataflow.shards.tar import TarWriter, read_members

SAMPLE_BYTES = 256 << 10
"""Text of a sample, at most; a longer document has a sample of its own."""
MAX_SAMPLES = 10**6
META = ("source", "uri", "license", "lang")
"""What a shard says of each document, beside its id and place."""
LAYOUT = ("id", "start", "bytes", *META)

PLACES = pa.schema(
    [
        pa.field("member", pa.string(), nullable=False),
        pa.field("doc_id", pa.binary(16), nullable=False),
        pa.field("text_offset", pa.int64(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
    ]
)
"""Where each document of a content shard lies. ``text_offset`` is absolute in the tar."""


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
) -> pa.Table:
    """Write documents into a content shard, in the order given.

    The bytes depend on the rows, ``name`` and ``sample_bytes`` only. Memory: one sample and its
    largest document, and some 60 bytes a document for the result.

    Parameters
    ----------
    sink : path or binary file
        A file stays open.
    rows : iterable of (doc_id, text, meta)
        16 bytes; UTF-8 bytes; the values of `META` (strings, or None where unknown).
    name : str
        The shard's name; sample keys are ``NAME-000000`` and so on.
    sample_bytes : int
        Documents join a sample while its text stays within this.

    Returns
    -------
    pa.Table of `PLACES`, one row a document, in order

    Raises
    ------
    ShardError
        If an id is not 16 bytes or the shard needs more than a million samples.
    """
    with opened(sink, "wb") as file:
        writer = _ContentWriter(file, name)
        held = 0
        for doc_id, text, meta in rows:
            if len(doc_id) != 16:
                raise ShardError(f"{name}: found a doc_id of {len(doc_id)} bytes, expected 16")
            if writer.texts and held + len(text) > sample_bytes:
                writer.flush()
                held = 0
            writer.ids.append(doc_id)
            writer.texts.append(text)
            writer.metas.append(meta)
            held += len(text)
        writer.flush()
        writer.tar.close()
    return writer.places()


class _ContentWriter:
    """The sample being filled, and where the documents before it went."""

    def __init__(self, sink: Any, name: str) -> None:
        self.tar = TarWriter(sink)
        self._name = name
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
        columns.update({field: [meta.get(field) for meta in self.metas] for field in META})
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

    def places(self) -> pa.Table:
        """The table of `PLACES`."""
        empty = [np.zeros(0, np.int64)]
        sample = np.repeat(np.arange(len(self._keys)), self._counts)
        keys = pa.array(self._keys, pa.string())
        return pa.table(
            [
                keys.take(pa.array(sample)),
                ids_array(b"".join(self._ids)),
                pa.array(np.concatenate(self._offsets or empty)),
                pa.array(np.concatenate(self._sizes or empty)),
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
        The columns of ``KEY.json``.
    data : bytes
        ``KEY.txt``.
    offset : int
        Of its first byte in the tar.
    """

    key: str
    documents: dict[str, list[Any]]
    data: bytes
    offset: int

    def __len__(self) -> int:
        return len(self.documents["id"])

    def text(self, i: int) -> bytes:
        """The text of document ``i``, UTF-8."""
        start = self.documents["start"][i]
        return self.data[start : start + self.documents["bytes"][i]]

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
        for described in members:
            key = described.name.removesuffix(".json")
            text = next(members, None)
            if key == described.name or text is None or text.name != f"{key}.txt":
                found = f"{described.name} and {text.name if text else 'the end'}"
                raise ShardError(f"{where}: found {found}, expected KEY.json and KEY.txt")
            documents = _parse(described.data, len(text.data), f"{where}: {described.name}")
            yield ContentSample(key, documents, text.data, text.offset)


def _parse(data: bytes, size: int, where: str) -> dict[str, list[Any]]:
    try:
        documents = orjson.loads(data)["documents"]
        columns: dict[str, list[Any]] = {field: documents[field] for field in LAYOUT}
        starts = np.array(columns["start"], dtype=np.int64)
        sizes = np.array(columns["bytes"], dtype=np.int64)
        ids = all(len(bytes.fromhex(doc_id)) == 16 for doc_id in columns["id"])
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
