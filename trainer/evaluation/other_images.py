"""The images that stand in for those of captions: a few of the whole run, which hashes choose.

A corpus' images lie in partitions, and are read one partition after another. Others that are chosen
among what is at hand would hang on how the corpus is cut; so a pool is chosen first: of all that
is shown with a caption, the ``POOL`` of the least hashes. Which others a caption is read with hangs
on the pixels of its image, on the pool, and on what documents show together, and on nothing else.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import blake3

from dataflow.pictures import PictureReader
from dataflow.run import PartitionRecords, Run
from vl_data.measure import flat_images, told_captions

POOL = 256
"""Images that stand in for others: all of them are held, tiled."""

_COLUMNS = [f"images.list.element.{name}" for name in ("digest", "pixels", "alt", "caption")]


@dataclass(frozen=True)
class Shown:
    """An image of a document; ``place``: where its bytes lie, for who reads them."""

    pixels: bytes
    digest: bytes
    captioned: bool
    place: int


Documents = Callable[[], Iterator[list[Shown]]]
"""Begins again at each call: what each document with images shows."""


@dataclass
class _Member:
    digest: bytes
    place: int
    beside: set[bytes] = field(default_factory=set)


class OtherImages:
    """The pool, in the order of its hashes, as a circle.

    Memory: 16 bytes of hash and a digest of ``POOL`` images, and the pixels' digests of those that
    documents show beside them.
    """

    def __init__(self, documents: Documents, size: int = POOL) -> None:
        self._pool = _least((shown for each in documents() for shown in each), size)
        self._draws = [draw for draw, _ in self._pool]
        members = {pixels: member for _, (pixels, member) in self._pool}
        for each in documents():
            together = {shown.pixels for shown in each}
            for pixels in together & members.keys():
                members[pixels].beside |= together

    def of(self, pixels: bytes, count: int) -> list[bytes]:
        """The digests of up to ``count`` images that stand in for one with these pixels: the next
        ones of the circle that no document shows together with it."""
        start = bisect(self._draws, _draw(pixels))
        turned = (self._pool[(start + step) % len(self._pool)] for step in range(len(self._pool)))
        return list(islice((m.digest for _, (_, m) in turned if pixels not in m.beside), count))

    def places(self) -> dict[bytes, int]:
        """Where the bytes of all of them lie, by digest."""
        return {member.digest: member.place for _, (_, member) in self._pool}


def others_of_run(run: Run) -> OtherImages:
    """The pool of all documents that a run has read, kept or not; places number partitions."""
    return OtherImages(lambda: _documents(run))


def other_bytes(run: Run, others: OtherImages) -> dict[bytes, bytes]:
    """The bytes of a pool's images, by digest."""
    wanted: dict[int, list[bytes]] = {}
    for digest, place in others.places().items():
        wanted.setdefault(place, []).append(digest)
    return {
        digest: data
        for place, digests in sorted(wanted.items())
        for digest, data in images_in(run, run.partitions[place], digests)
    }


def images_in(
    run: Run, partition: PartitionRecords, digests: Iterable[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """(digest, data) of some images of a partition, each once."""
    return PictureReader(run.store, partition.read).each(dict.fromkeys(digests))


def _least(images: Iterable[Shown], size: int) -> list[tuple[bytes, tuple[bytes, _Member]]]:
    """The captioned images of the least hashes of pixels, ascending; of files that show the same
    that of the least digest."""
    found: dict[bytes, tuple[bytes, _Member]] = {}
    limit = b"\xff" * 16
    for shown in images:
        if not shown.captioned or (draw := _draw(shown.pixels)) > limit:
            continue
        known = found.get(draw)
        if known is None:
            found[draw] = shown.pixels, _Member(shown.digest, shown.place)
            if len(found) > 2 * size:
                found = dict(sorted(found.items(), key=lambda item: item[0])[:size])
                limit = max(found)
        elif shown.digest < known[1].digest:
            known[1].digest, known[1].place = shown.digest, shown.place
    return sorted(found.items(), key=lambda item: item[0])[:size]


def _draw(pixels: bytes) -> bytes:
    drawn: bytes = blake3.blake3(b"leyden.other-image.2\0" + pixels).digest(16)
    return drawn


def _documents(run: Run) -> Iterator[list[Shown]]:
    for number, partition in enumerate(run.partitions):
        if "images" not in partition.read.outputs:
            continue
        for group in run.groups(partition.read, "documents", _COLUMNS):
            parents, images, _ = flat_images(group)
            columns = (
                parents.tolist(),
                images.field("pixels").to_pylist(),
                images.field("digest").to_pylist(),
                told_captions(images).is_valid().to_pylist(),
            )
            document, each = -1, list[Shown]()
            for row, pixels, digest, captioned in zip(*columns, strict=True):
                if row != document and each:
                    yield each
                    each = []
                document = row
                each.append(Shown(pixels, digest, captioned, number))
            if each:
                yield each
