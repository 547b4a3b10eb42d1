"""Token shards: the ids of a content shard's documents, under the same keys and numbers.

A sample is three members of NumPy's ``.npy`` format:

``KEY.ids.npy``
    uint16 (vocabularies up to 65,536) or uint32, one array: each document's ids and then ``eod``.
``KEY.offsets.npy``
    int64, shape (documents + 1,): document i is ``ids[offsets[i]:offsets[i + 1]]``, ``eod``
    included.
``KEY.spans.npy``
    int64, shape (m, 3), rows (document, start, end): the tokens of a document that carry loss,
    counted from its first. A document without a row carries loss on every token.

A document with images has one id of the role ``image`` for each of them (`dataflow.shards.marked`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflow.shards.content import ContentSample, ids_array, opened, read_content_shard
from dataflow.shards.errors import ShardError
from dataflow.shards.marked import encode_marked
from dataflow.shards.npy import HEADER, from_npy, to_npy
from dataflow.shards.tar import TarWriter, read_members
from dataflow.tokenizer import Tokenizer

TOKEN_PLACES = pa.schema(
    [
        pa.field("doc_id", pa.binary(16), nullable=False),
        pa.field("token_offset", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)
"""Where each document's ids lie. ``token_offset`` is in bytes, absolute in the tar; ``tokens``
counts ``eod``."""

_NO_SPANS = np.zeros((0, 3), dtype=np.int64)


def write_token_shard(content: Any, tokenizer: Tokenizer, out: Any) -> pa.Table:
    """Tokenize a content shard into a token shard.

    The bytes depend on the content shard and the tokenizer only. Memory: one sample. Encodes on
    the calling thread alone.

    Parameters
    ----------
    content : path or binary file
        A content shard.
    tokenizer : Tokenizer
    out : path or binary file
        A file stays open.

    Returns
    -------
    pa.Table of `TOKEN_PLACES`, one row a document, in order

    Raises
    ------
    ShardError
        If the content shard is damaged, its text is not UTF-8, or it has images and the tokenizer
        has no id for them.
    """
    doc_ids: list[bytes] = []
    places: list[npt.NDArray[np.int64]] = []
    counts: list[npt.NDArray[np.int64]] = []
    with opened(out, "wb") as sink:
        tar = TarWriter(sink)
        for sample in read_content_shard(content):
            ids, offsets, spans = _encode(sample, tokenizer)
            start = tar.add(f"{sample.key}.ids.npy", *to_npy(ids)) + HEADER
            tar.add(f"{sample.key}.offsets.npy", *to_npy(offsets))
            tar.add(f"{sample.key}.spans.npy", *to_npy(spans))
            doc_ids.append(bytes.fromhex("".join(sample.documents["id"])))
            places.append(start + offsets[:-1] * ids.itemsize)
            counts.append(np.diff(offsets))
        tar.close()
    empty = [np.zeros(0, np.int64)]
    return pa.table(
        [
            ids_array(b"".join(doc_ids)),
            pa.array(np.concatenate(places or empty)),
            pa.array(np.concatenate(counts or empty)),
        ],
        schema=TOKEN_PLACES,
    )


def _encode(
    sample: ContentSample, tokenizer: Tokenizer
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The three arrays of a sample."""
    try:
        texts = [sample.text(i).decode() for i in range(len(sample))]
    except UnicodeDecodeError as error:
        raise ShardError(f"{sample.key}.txt: a document is not UTF-8: {error}") from error
    spans = [_NO_SPANS]
    if "images" in sample.documents or "loss" in sample.documents:
        encoded = []
        for i, text in enumerate(texts):
            found, rows = encode_marked(
                text,
                tokenizer,
                pictured=bool(sample.images(i)),
                loss=sample.loss(i),
                where=f"{sample.key}.txt: document {i}",
            )
            encoded.append(found)
            spans.append(np.insert(rows, 0, i, axis=1))
    else:
        encoded = tokenizer.encode_batch(texts)
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(ids) + 1 for ids in encoded], out=offsets[1:])
    ids = np.full(int(offsets[-1]), tokenizer.eod, dtype=tokenizer.dtype)
    for i, found in enumerate(encoded):
        ids[offsets[i] : offsets[i + 1] - 1] = found
    return ids, offsets, np.concatenate(spans)


@dataclass(frozen=True)
class TokenSample:
    """One sample of a token shard.

    Attributes
    ----------
    key : str
        The key of the content sample.
    ids : uint16 or uint32 array
    offsets : int64 array, (documents + 1,)
    spans : int64 array, (m, 3)
    offset : int
        Of the first id's first byte in the tar.
    """

    key: str
    ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    offset: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, i: int) -> npt.NDArray[Any]:
        """The ids of document ``i``, ``eod`` last."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]


def read_token_shard(source: Any, where: str | None = None) -> Iterator[TokenSample]:
    """The samples of a token shard, in order, with memory for one.

    Raises
    ------
    ShardError
        If the tar is damaged, or a sample is not as the module says.
    """
    where = where or str(source if isinstance(source, str | Path) else "token shard")
    with opened(source, "rb") as file:
        members = read_members(file, where)
        for first in members:
            key = first.name.removesuffix(".ids.npy")
            found = [first, *(member for _, member in zip(range(2), members, strict=False))]
            expected = [f"{key}.{part}.npy" for part in ("ids", "offsets", "spans")]
            names = [member.name for member in found]
            if names != expected:
                raise ShardError(f"{where}: found members {names}, expected {expected}")
            arrays = [from_npy(member.data, f"{where}: {member.name}") for member in found]
            (ids, start), (offsets, _), (spans, _) = arrays
            sample = TokenSample(key, ids, offsets, spans, first.offset + start)
            _check(sample, f"{where}: sample {key}")
            yield sample


def _check(sample: TokenSample, where: str) -> None:
    ids, offsets, spans = sample.ids, sample.offsets, sample.spans
    if ids.dtype not in (np.uint16, np.uint32) or ids.ndim != 1:
        raise ShardError(f"{where}: ids are {ids.dtype} of shape {ids.shape}")
    if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) < 2:
        raise ShardError(f"{where}: offsets are {offsets.dtype} of shape {offsets.shape}")
    if offsets[0] != 0 or offsets[-1] != len(ids) or (np.diff(offsets) < 1).any():
        raise ShardError(f"{where}: offsets do not cut its {len(ids)} ids into documents")
    if spans.dtype != np.int64 or spans.ndim != 2 or spans.shape[1] != 3:
        raise ShardError(f"{where}: spans are {spans.dtype} of shape {spans.shape}")
    if len(spans):
        document, start, end = spans.T
        sound = (
            (document >= 0).all()
            and (document < len(sample)).all()
            and (start >= 0).all()
            and (start < end).all()
        )
        if not sound or (end > np.diff(offsets)[document]).any():
            raise ShardError(f"{where}: a loss span lies outside its document")


def tokens_at(
    source: Any, token_offset: int, tokens: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """The ids of one document, ``eod`` last, by a seek and a range read of a token tar.

    Parameters
    ----------
    source : seekable binary file
    token_offset, tokens : int
        As in the index.
    dtype : uint16 or uint32
        `Tokenizer.dtype` of the tokenizer.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    source.seek(token_offset)
    data = source.read(tokens * kind.itemsize)
    if len(data) != tokens * kind.itemsize:
        raise ShardError(f"found {len(data)} bytes at {token_offset}, expected {tokens} ids")
    return np.frombuffer(data, dtype=kind)
