"""Reading a partition: every record seen becomes one ``Record`` or one ``Unreadable``."""

from __future__ import annotations

from collections.abc import Iterator

from dataflow.sources.damage import damaged
from dataflow.sources.formats import FORMATS
from dataflow.sources.formats.detect import HEAD_BYTES, by_content
from dataflow.sources.opened import Opened
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Item, Outcomes, Partition, Record, SourceSpec, Unreadable
from dataflow.sources.synthesised.listing import FORMAT as SYNTHESISED
from dataflow.sources.synthesised.read import read as read_synthesised

_NATIVE_PANIC = "PanicException"
"""What a failed assertion in a Rust library raises; it is no ``Exception``."""


def read(spec: SourceSpec, partition: Partition) -> Iterator[Record | Unreadable]:
    """Outcomes in the order of the partition's items, then of offsets.

    Nothing that lies in a file raises; an item that cannot be read at all is one ``Unreadable`` at
    offset 0, or at the start of its range.

    Raises
    ------
    SourceError
        Remote storage failed, for another reason than a missing file or permission; or a source
        with ``damage`` has records that are not plain text.
    """
    for item in partition.items:
        outcomes = _read_item(spec, item)
        yield from outcomes if spec.damage is None else damaged(outcomes, spec.damage)


def _read_item(spec: SourceSpec, item: Item) -> Outcomes:
    if item.reason:
        yield Unreadable(item.uri, item.start, item.reason, item.detail)
        return
    if item.format == SYNTHESISED:
        yield from read_synthesised(spec, item)
        return
    last = item.start - 1
    try:
        with Opened(spec, item) as opened:
            for outcome in _reader(opened):
                last = outcome.offset
                yield outcome
    except Refusal as refusal:
        yield Unreadable(item.uri, last + 1, refusal.reason, refusal.detail)
    except (RecursionError, MemoryError) as error:
        yield Unreadable(item.uri, last + 1, "extraction-failed", type(error).__name__)
    except BaseException as error:
        if type(error).__name__ != _NATIVE_PANIC:
            raise
        yield Unreadable(item.uri, last + 1, "extraction-failed", "a native library panicked")


def _reader(opened: Opened) -> Outcomes:
    name = opened.item.format
    if name not in FORMATS:
        name = by_content(opened.head(HEAD_BYTES))
    return FORMATS[name].read(opened)
