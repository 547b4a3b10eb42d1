"""The journal: which outputs exist. One small record a key, written once, after its outputs.

A record is a JSON file ``journal/records/KEY.json`` that ends in a checksum of itself. A crash can
leave outputs without a record (they do not exist, and are written again) or half a record (its
checksum fails, and it does not exist either). Records hold no text and are found by key alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import blake3
import orjson

from dataflow.store import Store

RECORDS = "journal/records"


@dataclass(frozen=True)
class Output:
    """One file that a task wrote."""

    path: str
    kind: str
    bytes: int
    blake3: str
    rows: int | None = None
    temporary: bool = False


@dataclass(frozen=True)
class Record:
    """What a finished task left: its outputs by role, its counts, and what it cost.

    ``stats`` are functions of the input alone. ``cost`` (seconds, peak memory, host) is measured:
    it reaches the report and no output, key or root.
    """

    key: str
    step: str
    name: str
    outputs: dict[str, Output] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The record's file: canonical JSON, a newline, and the BLAKE3 of the JSON."""
        body = orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)
        return body + b"\n" + blake3.blake3(body).hexdigest().encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Record | None:
        """Parse a record's file; None when it is torn."""
        lines = data.split(b"\n")
        if len(lines) != 3 or blake3.blake3(lines[0]).hexdigest().encode() != lines[1]:
            return None
        return cls.from_mapping(orjson.loads(lines[0]))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Record:
        """Build a record from plain values (what ``asdict`` gave)."""
        outputs = {role: Output(**output) for role, output in values["outputs"].items()}
        return cls(**{**values, "outputs": outputs})


class Journal:
    """The records of one run folder."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @staticmethod
    def path(key: str) -> str:
        return f"{RECORDS}/{key[:2]}/{key}.json"

    def get(self, key: str) -> Record | None:
        """The record of ``key``, or None when there is none or it is torn."""
        try:
            return Record.from_json(self.store.read(self.path(key)))
        except FileNotFoundError:
            return None

    def commit(self, record: Record) -> Record:
        """Make ``record`` real. The first commit of a key wins; the winner is returned."""
        if self.store.create_exclusive(self.path(record.key), record.to_json()):
            return record
        winner = self.get(record.key)
        if winner is not None and self.present(winner):
            return winner
        # What is there is torn, or its outputs were taken away since: this one takes its place.
        self.store.write(self.path(record.key), record.to_json())
        return record

    def present(self, record: Record, *, temporary: bool = False) -> bool:
        """Whether the record's outputs are still there in their size.

        Temporary outputs count only when ``temporary`` is set: they are deleted on purpose once
        what they were for exists.
        """
        return all(
            self.store.size(output.path) == output.bytes
            for output in record.outputs.values()
            if temporary or not output.temporary
        )
