"""Duplicates in one column of text: the whole method on a table that a notebook holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from dedup.bands import Records
from dedup.exact import exact_duplicates
from dedup.shingles import ShingleSets, WordBatch, write_shingles
from dedup.signatures import MinHashParams, band_keys, minhash_params, signatures
from dedup.survivors import DedupStats, near_duplicates
from dedup.verify import Threshold
from kernels.text import buffers_of, word_hashes

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

# Text whose words are hashed at a time.
_BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class TextDuplicates:
    """Duplicate rows of a column; the earlier row survives.

    ``removed`` uint32, ascending; beside it ``survivor`` uint32 and the exact Jaccard similarity
    ``jaccard_num / jaccard_den`` of their shingle sets, 1/1 for equal texts (``exact`` bool). A
    near duplicate's survivor is kept; so is an exact duplicate's unless it is itself removed as a
    near duplicate of a third. ``without_signature`` counts rows too short for one.
    """

    rows: int
    removed: U32
    survivor: U32
    jaccard_num: U32
    jaccard_den: U32
    exact: NDArray[np.bool_]
    without_signature: int
    stats: DedupStats


def text_duplicates(
    texts: pa.Array | pa.ChunkedArray,
    threshold: Threshold = "0.8",
    params: MinHashParams | None = None,
    *,
    memory_bytes: int = 128 << 20,
    threads: int = 1,
) -> TextDuplicates:
    """Find exact and verified near duplicates among Arrow strings, in row order.

    Words are those of :func:`kernels.text.word_hashes`. Raises ``ValueError`` for nulls and for a
    column that is not text. Temporary files go where ``tempfile`` puts them.
    """
    params = params or minhash_params()
    column = _large_strings(texts)
    twins = exact_duplicates(lambda: _content_ids(column), memory_bytes)
    once = np.ones(len(column), np.bool_)
    once[twins.removed] = False
    rows = np.flatnonzero(once).astype(np.uint32)
    keys = np.empty((len(rows), params.bands), np.uint64)
    present = np.empty(len(rows), np.bool_)
    at = 0
    for ranks, words, offsets in _word_batches(column, rows):
        found, some = signatures(words, offsets, params)
        end = at + len(ranks)
        keys[at:end], present[at:end] = band_keys(found, params), some
        at = end

    def band_runs(band: int) -> Iterator[Records]:
        yield np.ascontiguousarray(keys[present, band]), rows[present]

    with tempfile.TemporaryDirectory(prefix="dedup-") as scratch:

        def shingles(candidates: U32) -> ShingleSets:
            path = Path(scratch) / "shingles"
            write_shingles(path, _word_batches(column, candidates), params.ngram)
            return ShingleSets.open([path])

        near = near_duplicates(
            band_runs,
            params.bands,
            len(column),
            shingles,
            threshold,
            scratch,
            memory_bytes,
            threads=threads,
        )
    ones = np.ones(len(twins.removed), np.uint32)
    removed = np.concatenate([twins.removed, near.removed])
    order = np.argsort(removed)
    return TextDuplicates(
        rows=len(column),
        removed=removed[order],
        survivor=np.concatenate([twins.survivor, near.survivor])[order],
        jaccard_num=np.concatenate([ones, near.jaccard_num])[order],
        jaccard_den=np.concatenate([ones, near.jaccard_den])[order],
        exact=(np.arange(len(removed)) < len(ones))[order],
        without_signature=int(np.count_nonzero(~present)),
        stats=near.stats,
    )


def _large_strings(texts: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    kind = texts.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"found a column of type {kind}, expected text (string)")
    if texts.null_count:
        row = int(np.flatnonzero(pc.is_null(texts).to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"row {row}: found a null, expected a text; drop such rows first")
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return pa.chunked_array([chunk.cast(pa.large_string()) for chunk in chunks], pa.large_string())


def _content_ids(column: pa.ChunkedArray) -> Iterator[tuple[U64, U32]]:
    first = 0
    for batch in column.chunks:
        digests = b"".join(xxhash.xxh3_128_digest(text.as_buffer()) for text in batch)
        ids = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
        yield ids, np.arange(first, first + len(batch), dtype=np.uint32)
        first += len(batch)


def _word_batches(column: pa.ChunkedArray, rows: U32) -> Iterator[WordBatch]:
    """Word hashes of the given rows (ascending), about ``_BATCH_BYTES`` of text at a time."""
    sizes = pc.binary_length(column).to_numpy().astype(np.int64)[rows]
    ends = np.cumsum(sizes)
    start = 0
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BATCH_BYTES, "right")))
        some = rows[start:stop]
        texts = column.take(pa.array(some)).combine_chunks()
        data, offsets = buffers_of(texts)
        words, places = word_hashes(data, offsets)
        yield some, words, places
        start = stop
