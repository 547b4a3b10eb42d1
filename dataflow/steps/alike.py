"""``alike``: which images of the run are one, and what each document's images show, in order.

Two documents with images can be near duplicates only if they show the same images in the same
order: their texts' hashes are mixed with that sequence (`mix_sequence`), so that others never meet
in a bucket and, were they to meet, would have no shingle in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from dataflow.journal import Record
from dataflow.lists import flat_list
from dataflow.pictures import PictureReader
from dataflow.ranks import IMAGES, SEQUENCES
from dataflow.steps.columns import digest_words
from dataflow.tasks import Step, StepContext
from vl_data.clusters import cluster_images
from vl_data.decode import decode_image
from vl_data.hashes import THUMBNAIL, colour_thumbnail
from vl_data.images import IMAGE

_FACTS = ("digest", "pixels", "phash", "width", "height", "blank")
_NO_THUMBNAILS = np.zeros((0, THUMBNAIL, THUMBNAIL, 3), np.uint8)

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


def run(context: StepContext) -> dict[str, Any]:
    """Write ``IMAGES`` and ``SEQUENCES``. Memory: some 150 bytes a distinct image.

    Images are clustered in the order of their digests, so that the outcome does not depend on how
    documents are cut into partitions.
    """
    records = [record for record in context.inputs("documents") if record.stats["images"]]
    facts, holder = _distinct(context, records)
    digests = digest_words(facts["digest"])

    def thumbnails(rows: U32) -> NDArray[np.uint8]:
        return _thumbnails(context, records, facts["digest"], holder, rows)

    found = cluster_images(
        facts, context.scratch, memory_bytes=context.local["memory_bytes"], thumbnails=thumbnails
    )
    with IMAGES.create(context) as out:
        out.add(digest=digests.view(np.uint8).reshape(-1, 32), representative=found.survivor)
    with SEQUENCES.create(context) as sequences:
        for record in records:
            for column in _lists(context, record, ["digest"]):
                images, offsets = flat_list(column)
                rows = np.searchsorted(digests, digest_words(images.field("digest")))
                shown = digests[found.survivor[rows]].view(np.uint8).reshape(-1, 32)
                sequences.add(sequence=_sequences(shown, offsets))
    kinds = np.bincount(found.kind, minlength=4).tolist()
    return {
        "images": facts.num_rows,
        "same_pixels": kinds[2],
        "alike": kinds[3],
        "compared": found.compared,
    }


def _lists(context: StepContext, record: Record, fields: list[str]) -> Iterator[pa.ChunkedArray]:
    """The column ``images`` of a partition, some fields of it, row group by row group."""
    columns = [f"images.list.element.{name}" for name in fields]
    for group in context.read_groups(record, "documents", columns):
        yield group["images"]


def _distinct(context: StepContext, records: Any) -> tuple[pa.Table, U32]:
    """The facts of each image once, by digest; and the number of a partition that holds it."""
    parts = [pa.schema([IMAGE.field(name) for name in _FACTS]).empty_table()]
    holders = [np.zeros(0, np.uint32)]
    for number, record in enumerate(records):
        for column in _lists(context, record, list(_FACTS)):
            images, _ = flat_list(column)
            if not len(images):
                continue
            _, first = np.unique(digest_words(images.field("digest")), return_index=True)
            images = images.take(pa.array(first))
            columns = [images.field(name) for name in _FACTS]
            parts.append(pa.Table.from_arrays(columns, schema=parts[0].schema))
            holders.append(np.full(len(first), number, np.uint32))
    facts = pa.concat_tables(parts)
    _, first = np.unique(digest_words(facts["digest"]), return_index=True)
    return facts.take(pa.array(first)).combine_chunks(), np.concatenate(holders)[first]


def _thumbnails(
    context: StepContext, records: Any, digests: Any, holder: U32, rows: U32
) -> NDArray[np.uint8]:
    """Thumbnails of the images at ``rows``, on scratch: the files are decoded once more."""
    if not len(rows):
        return _NO_THUMBNAILS
    shape = (len(rows), THUMBNAIL, THUMBNAIL, 3)
    out = np.memmap(context.scratch / "thumbnails", np.uint8, "w+", shape=shape)
    for number in np.unique(holder[rows]).tolist():
        mine = np.flatnonzero(holder[rows] == number)
        wanted = digests.take(pa.array(rows[mine])).to_pylist()
        place = dict(zip(wanted, mine.tolist(), strict=True))
        for digest, data in PictureReader(context.store, records[number]).each(wanted):
            out[place[digest]] = colour_thumbnail(decode_image(data).shown())
    return out


def _sequences(shown: NDArray[np.uint8], offsets: NDArray[np.int64]) -> U64:
    """A hash of the digests of each row, never 0 where there are any; 0 where there are none."""
    out = np.zeros(len(offsets) - 1, np.uint64)
    for row in np.flatnonzero(np.diff(offsets)).tolist():
        digests = shown[offsets[row] : offsets[row + 1]].tobytes()
        out[row] = max(1, xxhash.xxh3_64_intdigest(b"leyden.sequence.1\0" + digests))
    return out


STEP = Step("alike", run)
