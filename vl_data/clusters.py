"""Which images are one: equal files, equal pixels, and verified perceptual near duplicates.

Images are rows in survivor order: the earlier row wins. Three levels, each over what the one before
has left:

1. **exact**: equal bytes. 2. **pixels**: equal RGBA pixels and size, whatever the files.
3. **near**: perceptual hashes that differ in at most ``distance`` bits, equal aspects to 2 % (so a
   crop to another shape is another image), and colour thumbnails of 32 × 32 of which no value
   differs by more than ``levels`` of 255. Blank images are left out: their hashes say nothing.

What is kept is the first maximal independent set of the graph of near pairs: an image goes only if
a kept one is near to it, never through a chain. Candidates come from buckets, through
:func:`dedup.sort_band`: a hash is cut into ``distance`` + 2 blocks, and every pair of blocks is a
band. Two hashes that differ in ``distance`` bits agree in two blocks at least, so no near pair is
missed (pigeonhole; Manku et al. 2007, section 3).

The thumbnails are what tells drawings apart: a hash of 64 bits sees an image as waves, and a shape
more or less is often less than 4 bits. They are made of the candidates only, by whoever holds the
files; without them the first two tests decide. What they do not see is small print: two scans of
one form that differ in a number of a few pixels are near duplicates here, as the texts of two such
pages are to MinHash. Where that is what a source is about, leave level 3 out: ``distance`` None.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dedup import (
    Buckets,
    candidate_ranks,
    connected_components,
    exact_duplicates,
    id_words,
    sort_band,
)
from kernels.buckets import count_memberships, fill_memberships
from kernels.near_hashes import select_near
from vl_data.hashes import THUMBNAIL

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

KEPT, EXACT, PIXELS, NEAR = 0, 1, 2, 3
KINDS = ("kept", "exact", "pixels", "near")
"""Names of the values of ``ImageClusters.kind``."""

DISTANCE = 4
"""Bits of 64, by default."""
ASPECT_PARTS = 50
"""Aspects may differ by one part in 50."""
LEVELS = 12
"""By how much a value of the thumbnails may differ, of 255, by default. Of photographs halved and
encoded again 96 % are within; different photographs, scans and drawings whose hashes agree to 4
bits were found to be 46 apart and more."""
_MOST_DISTANCE = 12


@dataclass(frozen=True)
class ImageClusters:
    """What became of each of n images.

    Attributes
    ----------
    kind: uint8[n], ``KEPT`` or at which level the image was removed.
    survivor: uint32[n], the kept row that stands for it; its own where kept.
    distance: uint8[n], bits between the hashes of the two; 0 but for ``NEAR``.
    cluster: uint32[n], the smallest row of the connected component of the verified pairs found.
    compared: pairs of hashes compared.
    """

    kind: NDArray[np.uint8]
    survivor: U32
    distance: NDArray[np.uint8]
    cluster: U32
    compared: int


def cluster_images(
    images: pa.Table,
    scratch: str | Path,
    distance: int | None = DISTANCE,
    memory_bytes: int = 128 << 20,
    thumbnails: Callable[[U32], U8] | None = None,
    levels: int = LEVELS,
) -> ImageClusters:
    """Find the duplicates among images, in row order.

    Parameters
    ----------
    images: n rows with the columns digest, pixels, phash, width, height and blank of
        ``vl_data.images.IMAGE``, without nulls.
    scratch: a folder for sorted runs and buckets.
    distance: in how many bits near hashes may differ, 0 .. 12; with more, buckets grow large (a
        band's key has about 128 / (distance + 2) bits). None: equal pixels only.
    memory_bytes: held while a band is sorted.
    thumbnails: called once with the rows (uint32[m], ascending) whose hashes have a neighbour by
        band, gives their ``vl_data.hashes.colour_thumbnail``, uint8[m, 32, 32, 3] (it may be
        mapped memory). None: near pairs are not verified by what they look like.
    levels: by how much the values of thumbnails may differ, 0 .. 255.

    Raises
    ------
    ValueError
        For a distance or levels out of bounds, for a column that is missing or of another type,
        and for thumbnails of another shape.
    """
    if distance is not None and not 0 <= distance <= _MOST_DISTANCE:
        raise ValueError(f"distance: found {distance}, expected bits in 0 .. {_MOST_DISTANCE}")
    if not 0 <= levels <= 255:
        raise ValueError(f"levels: found {levels}, expected 0 .. 255")
    n = images.num_rows
    digests = _column(images, "digest", pa.binary(32))
    pixels = id_words(_column(images, "pixels", pa.binary(16)))
    equal = exact_duplicates(lambda: [(pixels, np.arange(n, dtype=np.uint32))], memory_bytes)
    survivor = np.arange(n, dtype=np.uint32)
    survivor[equal.removed] = equal.survivor
    kind = np.zeros(n, np.uint8)
    same_file = digests.take(pa.array(equal.removed)).to_numpy(zero_copy_only=False)
    same_file = same_file == digests.take(pa.array(equal.survivor)).to_numpy(zero_copy_only=False)
    kind[equal.removed] = np.where(same_file, EXACT, PIXELS)

    blank = _column(images, "blank", pa.bool_()).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero((kind == KEPT) & ~blank).astype(np.uint32)
    hashes = _column(images, "phash", pa.uint64()).to_numpy()[rows]
    widths = _column(images, "width", pa.int32()).to_numpy()[rows]
    heights = _column(images, "height", pa.int32()).to_numpy()[rows]
    look = None if thumbnails is None else lambda some: thumbnails(rows[some])
    leader, bits, compared = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64), 0
    if distance is not None and len(rows) > 1:
        leader, bits, compared = _near(
            hashes, widths, heights, Path(scratch), distance, levels, memory_bytes, look
        )
    gone = np.flatnonzero(leader >= 0)
    kind[rows[gone]] = NEAR
    survivor[rows[gone]] = rows[leader[gone]]
    between = np.zeros(n, np.uint8)
    between[rows[gone]] = bits[gone]
    # What has the pixels of an image that is gone itself is as near to that one's survivor.
    moved = equal.removed[kind[equal.survivor] == NEAR]
    first = survivor[moved]
    kind[moved], survivor[moved], between[moved] = NEAR, survivor[first], between[first]

    members, smallest = connected_components(survivor, np.arange(n, dtype=np.uint32))
    cluster = np.arange(n, dtype=np.uint32)
    cluster[members] = smallest
    return ImageClusters(kind, survivor, between, cluster, compared)


def band_keys(hashes: U64, distance: int) -> U64:
    """Keys uint64[bands, n] of hashes uint64[n]: two within ``distance`` bits share one."""
    blocks = distance + 2
    cuts = [64 * b // blocks for b in range(blocks + 1)]
    values = []
    for low, high in itertools.pairwise(cuts):
        mask = np.uint64((1 << (high - low)) - 1)
        values.append(((hashes >> np.uint64(low)) & mask, np.uint64(high - low)))
    keys = [(a << width) | b for (a, _), (b, width) in itertools.combinations(values, 2)]
    return np.stack(keys)


def _column(images: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    if name not in images.column_names:
        raise ValueError(f"images: found no column {name!r}, expected one of type {kind}")
    column = images.column(name).combine_chunks()
    if column.type != kind or column.null_count:
        raise ValueError(
            f"images: found {name!r} of type {column.type} with {column.null_count} nulls,"
            f" expected {kind} without"
        )
    return column


def _near(
    hashes: U64,
    widths: NDArray[np.int32],
    heights: NDArray[np.int32],
    scratch: Path,
    distance: int,
    levels: int,
    memory_bytes: int,
    look: Callable[[U32], U8] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """For each hash the index of the one that removes it or -1, the bits between, and the work."""
    n = len(hashes)
    survivor, bits = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    ranks = np.arange(n, dtype=np.uint32)
    buckets = [
        sort_band(band, [(keys, ranks)], scratch, memory_bytes)
        for band, keys in enumerate(band_keys(hashes, distance))
    ]
    seen, place = np.empty((0, 0), np.uint8), np.zeros(n, np.uint32)
    if look is not None:
        candidates = candidate_ranks(buckets, n)
        place[candidates] = np.arange(len(candidates), dtype=np.uint32)
        seen = _checked(look(candidates), len(candidates))
    compared = select_near(
        hashes,
        widths,
        heights,
        *_graph(buckets, n),
        seen,
        place,
        distance,
        ASPECT_PARTS,
        levels,
        survivor,
        bits,
    )
    return survivor, bits, int(compared)


def _checked(thumbnails: U8, count: int) -> U8:
    wanted = (count, THUMBNAIL, THUMBNAIL, 3)
    if thumbnails.dtype != np.uint8 or thumbnails.shape != wanted:
        raise ValueError(
            f"thumbnails: found {thumbnails.dtype}{list(thumbnails.shape)}, expected"
            f" uint8{list(wanted)}"
        )
    return np.ascontiguousarray(thumbnails).reshape(count, THUMBNAIL * THUMBNAIL * 3)


def _graph(buckets: Sequence[Buckets], n: int) -> tuple[NDArray[Any], ...]:
    """Compressed rows item -> buckets, where each bucket's leaders go, and room for them."""
    memberships = sum(band.memberships for band in buckets)
    total = sum(band.buckets for band in buckets)
    position = np.arange(n, dtype=np.uint32)
    starts = np.zeros(n + 1, np.int64)
    for band in buckets:
        for members, _ in band.chunks():
            count_memberships(members, position, starts)
    np.cumsum(starts, out=starts)
    item_buckets = np.zeros(memberships, np.uint32)
    bucket_starts = np.zeros(total + 1, np.int64)
    cursor, first = starts[:-1].copy(), 0
    for band in buckets:
        for members, sizes in band.chunks():
            fill_memberships(members, sizes, first, position, cursor, item_buckets, bucket_starts)
            first += len(sizes)
    leaders = np.zeros(memberships, np.uint32)
    return starts, item_buckets, bucket_starts, leaders, np.zeros(total, np.uint32)
