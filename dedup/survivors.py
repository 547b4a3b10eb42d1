"""Which documents survive: near duplicates found by bands, verified exactly, removed in order.

Documents are ranks 0 .. n - 1 in survivor order: the smaller rank wins. The graph has an edge where
two documents share a band and their shingle sets' Jaccard similarity reaches the threshold. What is
kept is its lexicographically first maximal independent set: a document goes only if a kept document
of smaller rank is verified to be near it, never through a chain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.bands import Buckets, Records, candidate_ranks, sort_band
from dedup.components import connected_components
from dedup.shingles import ShingleSets
from dedup.verify import Threshold, exact_threshold
from kernels.buckets import count_memberships, fill_memberships
from kernels.leaders import (
    BITMAP_REJECTED,
    COMPARED,
    PAIRS,
    SIZE_REJECTED,
    BucketGraph,
    probe,
    settle,
)

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]

_MOST_RANKS = (1 << 32) - 1


@dataclass(frozen=True)
class DedupStats:
    """What the search did; equal for any memory budget, batch, thread count and cut of the input.

    ``records``: band keys sorted. ``memberships``: those in buckets of two or more. ``pairs``:
    distinct pairs looked at; their sizes rejected ``size_rejected``, their bitmaps
    ``bitmap_rejected``, and the sets of ``compared`` were intersected.
    """

    records: int
    buckets: int
    memberships: int
    largest_bucket: int
    candidates: int
    pairs: int
    size_rejected: int
    bitmap_rejected: int
    compared: int
    removed: int


@dataclass(frozen=True)
class NearDuplicates:
    """Removed documents and why; every array is uint32.

    ``removed`` ascending; beside it ``survivor``, the smallest kept rank that is a verified near
    duplicate, and the similarity ``jaccard_num / jaccard_den`` (shared and all distinct shingles).
    ``members``, ascending: the documents of clusters of two or more; beside it ``cluster``, the
    smallest rank of the connected component of the verified pairs found.
    """

    removed: U32
    survivor: U32
    jaccard_num: U32
    jaccard_den: U32
    members: U32
    cluster: U32
    stats: DedupStats


def near_duplicates(
    band_runs: Callable[[int], Iterable[Records]],
    bands: int,
    n: int,
    shingles: ShingleSets | Callable[[U32], ShingleSets],
    threshold: Threshold,
    scratch: str | Path,
    memory_bytes: int = 128 << 20,
    *,
    batch: int = 1 << 12,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> NearDuplicates:
    """Sort every band, then select the survivors: all steps in one process.

    ``band_runs(band)`` yields (keys uint64[k], ranks uint32[k]) for ``band`` in 0 .. bands - 1.
    ``shingles`` holds the sets of all candidates, or is a function that makes them from the
    candidates' ranks. For the other arguments see :func:`sort_band` and :func:`select_survivors`,
    the same work cut into tasks.
    """
    exact = exact_threshold(threshold)
    _check_ranks(n)
    buckets = [sort_band(band, band_runs(band), scratch, memory_bytes) for band in range(bands)]
    candidates = candidate_ranks(buckets, n)
    sets = shingles if isinstance(shingles, ShingleSets) else shingles(candidates)
    return select_survivors(
        buckets,
        candidates,
        n,
        sets,
        exact,
        scratch,
        memory_bytes,
        batch=batch,
        threads=threads,
        progress=progress,
    )


def select_survivors(
    buckets: Sequence[Buckets],
    candidates: U32,
    n: int,
    shingles: ShingleSets,
    threshold: Threshold,
    scratch: str | Path,
    memory_bytes: int = 128 << 20,
    *,
    batch: int = 1 << 12,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> NearDuplicates:
    """Select the survivors among ``n`` ranks, given all bands' buckets and candidates' sets.

    ``candidates`` is ``candidate_ranks(buckets, n)``; documents outside it are kept. Works in
    rounds of ``batch`` candidates, the comparisons with earlier rounds on ``threads`` threads;
    neither changes the result. ``progress(done, total)`` is called after each round.
    Tables of buckets larger than ``memory_bytes`` are mapped files in ``scratch``; besides them 4
    bytes a rank and 56 a candidate are held. Raises ``ValueError`` for a threshold outside (0, 1]
    and for a candidate without a shingle set.
    """
    exact = exact_threshold(threshold)
    _check_ranks(n)
    if batch < 1 or threads < 1:
        raise ValueError(f"found batch {batch} and threads {threads}, expected at least 1 of each")
    m = len(candidates)
    graph = _bucket_graph(buckets, candidates, n, shingles, Path(scratch), memory_bytes)
    survivor, overlap = np.full(m, -1, np.int64), np.zeros(m, np.int64)
    counts = _run_rounds(graph, exact, survivor, overlap, batch, threads, progress)
    gone = np.flatnonzero(survivor >= 0)
    kept = survivor[gone]
    removed, survivors = candidates[gone], candidates[kept]
    members, cluster = connected_components(survivors, removed)
    sizes = graph.lengths[gone].astype(np.int64) + graph.lengths[kept]
    return NearDuplicates(
        removed=removed,
        survivor=survivors,
        jaccard_num=overlap[gone].astype(np.uint32),
        jaccard_den=(sizes - overlap[gone]).astype(np.uint32),
        members=members,
        cluster=cluster,
        stats=DedupStats(
            records=sum(band.records for band in buckets),
            buckets=sum(band.buckets for band in buckets),
            memberships=sum(band.memberships for band in buckets),
            largest_bucket=max((band.largest for band in buckets), default=0),
            candidates=m,
            pairs=int(counts[PAIRS]),
            size_rejected=int(counts[SIZE_REJECTED]),
            bitmap_rejected=int(counts[BITMAP_REJECTED]),
            compared=int(counts[COMPARED]),
            removed=len(gone),
        ),
    )


def _check_ranks(n: int) -> None:
    if not 0 <= n <= _MOST_RANKS:
        raise ValueError(f"found {n} ranks, expected 0 .. {_MOST_RANKS}: ranks are 32-bit")


def _run_rounds(
    graph: BucketGraph,
    threshold: Fraction,
    survivor: I64,
    overlap: I64,
    batch: int,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> I64:
    m = len(survivor)
    width = int(np.diff(graph.doc_starts).max(initial=1))
    p, q = threshold.numerator, threshold.denominator
    # Counters of two threads never share a cache line.
    counts = np.zeros((threads, 16), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, m, batch):
            last = min(m, first + batch)
            cuts = [first + (last - first) * t // threads for t in range(threads + 1)]
            tasks = [
                pool.submit(
                    probe, graph, cuts[t], cuts[t + 1], width, p, q, survivor, overlap, counts[t]
                )
                for t in range(threads)
            ]
            for task in tasks:
                task.result()
            settle(graph, first, last, width, p, q, survivor, overlap, counts[0])
            if progress is not None:
                progress(last, m)
    total: I64 = counts.sum(axis=0)
    return total


def _bucket_graph(
    buckets: Sequence[Buckets],
    candidates: U32,
    n: int,
    shingles: ShingleSets,
    scratch: Path,
    memory_bytes: int,
) -> BucketGraph:
    memberships = sum(band.memberships for band in buckets)
    total = sum(band.buckets for band in buckets)
    if total > _MOST_RANKS:
        raise ValueError(f"found {total} buckets, expected at most {_MOST_RANKS}; use fewer bands")
    sets = shingles.locate(candidates)
    in_memory = 8 * memberships + 12 * total <= memory_bytes

    def table(name: str, length: int, dtype: type[np.generic]) -> NDArray[Any]:
        if in_memory or length == 0:
            return np.zeros(length, dtype)
        path = scratch / f"graph.{name}"
        with path.open("wb") as file:
            # A full disk is an error here; to write into a hole of a mapped file would be a signal.
            os.posix_fallocate(file.fileno(), 0, length * np.dtype(dtype).itemsize)
        return np.asarray(np.memmap(path, dtype, "r+", shape=length))

    position = np.zeros(n, np.uint32)
    position[candidates] = np.arange(len(candidates), dtype=np.uint32)
    doc_starts = np.zeros(len(candidates) + 1, np.int64)
    for band in buckets:
        for members, _ in band.chunks():
            count_memberships(members, position, doc_starts)
    np.cumsum(doc_starts, out=doc_starts)
    doc_buckets = table("doc_buckets", memberships, np.uint32)
    bucket_starts = table("bucket_starts", total + 1, np.int64)
    cursor = doc_starts[:-1].copy()
    first = 0
    for band in buckets:
        for members, sizes in band.chunks():
            fill_memberships(members, sizes, first, position, cursor, doc_buckets, bucket_starts)
            first += len(sizes)
    return BucketGraph(
        doc_starts,
        doc_buckets,
        bucket_starts,
        table("leaders", memberships, np.uint32),
        table("filled", total, np.uint32),
        *sets,
    )
