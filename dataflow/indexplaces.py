"""Moves the index that ``tokenize`` wrote, when a run gains tiers or loses them.

In a run without tiers it is the run's index. In one with tiers it lies aside, so that who reads all
of ``index/`` reads each document once, with its tier. No shard is written again for that: the file
is copied, and the record says where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from dataflow.journal import Journal, Record
from dataflow.tasks import Task

INDEX_FOLDER = "index"
UNTIERED_FOLDER = "index/untiered"
"""Of what ``tokenize`` writes, in a run with tiers."""

COPY_BYTES = 4 << 20


def place_indexes(journal: Journal, tokenized: Iterable[Task], folder: str) -> None:
    """See to it that the indexes of finished tasks lie in ``folder``; those that are lost will be
    written there again."""
    for task in tokenized:
        record = journal.get(task.key)
        if record is None:
            continue
        index = record.outputs["index"]
        if journal.store.size(index.path) == index.bytes:
            _place(journal, record, folder)


def _place(journal: Journal, record: Record, folder: str) -> None:
    output = record.outputs["index"]
    path = PurePosixPath(output.path)
    if str(path.parent) == folder:
        return
    store = journal.store
    wanted = f"{folder}/{path.name}"
    with store.open(output.path) as source, store.create(wanted) as sink:
        while data := source.read(COPY_BYTES):
            sink.write(data)
    moved = replace(output, path=wanted, kind=index_kind(folder))
    # The file is there before a record names it; the old one goes when the build sweeps.
    placed = replace(record, outputs={**record.outputs, "index": moved})
    store.write(journal.path(record.key), placed.to_json())


def index_kind(folder: str) -> str:
    """The kind, in the manifest, of an index in a folder: one without tiers, where there is one
    with them, is not to be counted again."""
    return folder.replace("/", "-")
