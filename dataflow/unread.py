"""What of a run's input was seen and gave no document: rows of ``ledger/unreadable`` by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow.compute as pc

from dataflow.run import PartitionRecords, Run


def unread_records(run: Run, uri: str, *, parts: bool = False) -> list[dict[str, Any]]:
    """The rows of all records at ``uri`` that could not be read; with ``parts``, also of parts of
    records, such as ``URI#image-2``. Reads the whole ledger of what is unreadable.
    """
    return [row for part in run.partitions for row in _rows(run, part, _at(uri, parts))]


def unread_beside(run: Run, partitions: Iterable[str], uri: str) -> list[dict[str, Any]]:
    """The rows of records at ``uri`` in the partitions of these names."""
    names = set(partitions)
    wanted = (part for part in run.partitions if part.name in names)
    return [row for part in wanted for row in _rows(run, part, _at(uri, False))]


def unread_parts(
    run: Run, partition: PartitionRecords, uri: str, offset: int
) -> list[dict[str, Any]]:
    """The rows of parts of one record that were left out of its document."""
    here = (pc.starts_with(pc.field("uri"), uri + "#")) & (pc.field("offset") == offset)
    return _rows(run, partition, here)


def tell_unread(row: dict[str, Any]) -> str:
    """A row in plain words."""
    lines = [f"{row['source']}  {row['uri']}  (offset {row['offset']})"]
    lines.append(f"  NOT READ    {row['reason']}" + (f": {row['detail']}" if row["detail"] else ""))
    return "\n".join(lines)


def _at(uri: str, parts: bool) -> pc.Expression:
    here: pc.Expression = pc.field("uri") == uri
    return here | pc.starts_with(pc.field("uri"), uri + "#") if parts else here


def _rows(run: Run, partition: PartitionRecords, where: pc.Expression) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run.table(partition.read, "unreadable").filter(where).to_pylist()
    return found
