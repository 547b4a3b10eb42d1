"""Images on their way from records into the tables of a partition, and out of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.journal import Record as TaskRecord
from dataflow.sources.spec import Outcome, Picture, Record, Unreadable
from dataflow.store import Store
from dataflow.tables import IMAGES
from dataflow.tasks import StepContext, TableSink
from vl_data.images import MARK

GROUP_BYTES = 8 << 20
"""Image bytes of one row group of ``images``: what is read to get at one of them."""


def picture_rows(pictures: Iterable[Picture]) -> list[dict[str, Any]]:
    """The values of ``documents.images``."""
    return [
        {
            "digest": picture.facts.digest,
            "bytes": picture.facts.bytes,
            "format": picture.facts.format,
            "width": picture.facts.width,
            "height": picture.facts.height,
            "pixels": picture.facts.pixels,
            "phash": picture.facts.phash,
            "frames": picture.facts.frames,
            "blank": picture.facts.blank,
            "ref": picture.ref,
            "alt": picture.alt,
            "caption": picture.caption,
        }
        for picture in pictures
    ]


def marks_differ(outcome: Outcome) -> Outcome:
    """``outcome``; or, of a record whose marks are not as many as its images, why it is unreadable.

    Without images a mark is a character like any other.
    """
    if isinstance(outcome, Record) and outcome.images:
        marks = outcome.text.count(MARK)
        if marks != len(outcome.images):
            detail = f"found {marks} marks in the text, expected one for each of "
            detail += f"{len(outcome.images)} images"
            return Unreadable(outcome.uri, outcome.offset, "marks-differ", detail)
    return outcome


def loss_fault(text: bytes, loss: Sequence[tuple[int, int]]) -> str | None:
    """What is wrong with the loss spans of a text (UTF-8), or None."""
    reached = 0
    for start, end in loss:
        if not reached <= start < end <= len(text):
            return (
                f"found the loss span {start} to {end} behind {reached} in a text of {len(text)} "
                "bytes, expected spans that hold a byte, ascend and lie in the text"
            )
        if any(p < len(text) and text[p] & 0xC0 == 0x80 for p in (start, end)):
            return f"found the loss span {start} to {end}, which cuts a character in two"
        reached = end
    return None


class PictureWriter:
    """Writes a partition's ``images``: each digest once. Without any there is no file."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._stack = ExitStack()
        self._sink: TableSink | None = None
        self._seen: set[bytes] = set()
        self._pending: list[Picture] = []
        self._pending_bytes = 0
        self.count = 0
        self.bytes = 0

    def __enter__(self) -> PictureWriter:
        return self

    def add(self, pictures: Iterable[Picture]) -> None:
        """Take the images of a record. ``count`` and ``bytes`` count repeats too."""
        for picture in pictures:
            self.count += 1
            self.bytes += picture.facts.bytes
            if picture.facts.digest in self._seen:
                continue
            self._seen.add(picture.facts.digest)
            self._pending.append(picture)
            self._pending_bytes += picture.facts.bytes
            if self._pending_bytes >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._sink is None:
            self._sink = self._stack.enter_context(
                self._context.create_table("images", "images", IMAGES, kind="images")
            )
        columns = {
            "digest": [picture.facts.digest for picture in self._pending],
            "data": [picture.data for picture in self._pending],
        }
        self._pending, self._pending_bytes = [], 0
        self._sink.write(pa.table(columns, schema=IMAGES.schema))

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._stack.__exit__(kind, error, trace)


class PictureReader:
    """The bytes of a partition's images, by digest."""

    def __init__(self, store: Store, record: TaskRecord) -> None:
        self._store = store
        self._path = record.outputs["images"].path
        self._places: dict[bytes, tuple[int, int]] = {}
        with store.open(self._path) as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                digests = file.read_row_group(group, ["digest"], use_threads=False)["digest"]
                for row, digest in enumerate(digests.to_pylist()):
                    self._places[digest] = group, row

    def each(self, digests: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(digest, data) of the images with these digests, each once, as they lie in the file.

        Memory: one row group. Reads those that hold one.

        Raises
        ------
        KeyError
            If there is none with a digest.
        """
        rows: dict[int, dict[int, bytes]] = {}
        for digest in digests:
            group, row = self._places[digest]
            rows.setdefault(group, {})[row] = digest
        with self._store.open(self._path) as stream:
            file = pq.ParquetFile(stream)
            for group, wanted in sorted(rows.items()):
                data = file.read_row_group(group, ["data"], use_threads=False)["data"]
                for row in sorted(wanted):
                    yield wanted[row], data[row].as_py()

    def read(self, digests: Sequence[bytes]) -> pa.Array:
        """The images with these digests, in their order: ``large_binary``.

        Memory: the images, twice where they lie in another order. Raises as ``each``.
        """
        places = [self._places[digest] for digest in digests]
        wanted: dict[int, set[int]] = {}
        for group, row in places:
            wanted.setdefault(group, set()).add(row)
        found: list[pa.Array] = []
        at: dict[tuple[int, int], int] = {}
        with self._store.open(self._path) as stream:
            file = pq.ParquetFile(stream)
            for group in sorted(wanted):
                rows = sorted(wanted[group])
                column = file.read_row_group(group, ["data"], use_threads=False)["data"]
                data = column.combine_chunks().cast(pa.large_binary())
                found.append(data if len(rows) == len(data) else data.take(pa.array(rows)))
                at |= {(group, row): len(at) + n for n, row in enumerate(rows)}
        if not found:
            return pa.array([], pa.large_binary())
        together = pa.concat_arrays(found)
        order = [at[place] for place in places]
        return together if order == list(range(len(at))) else together.take(pa.array(order))
