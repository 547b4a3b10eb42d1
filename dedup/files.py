"""JSON Lines and Parquet files of documents, for the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_FORMATS = (".jsonl", ".parquet")


class UsageError(ValueError):
    """What was asked for cannot be: a missing file, an unknown format or column."""


def read_texts(path: Path, column: str) -> pa.ChunkedArray:
    """The text column of a ``.jsonl`` or ``.parquet`` file; errors name the line or the column."""
    if not path.is_file():
        raise UsageError(f"{path}: found no such file")
    if _format(path) == ".parquet":
        names = pq.read_schema(path).names
        if column not in names:
            raise UsageError(f"{path}: found no column {column!r}, expected one of {names}")
        return pq.read_table(path, columns=[column]).column(column)
    texts = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: found no JSON ({error})") from error
            if not isinstance(row, dict) or not isinstance(row.get(column), str):
                raise ValueError(
                    f"{path}, line {number}: found no text in {column!r}, expected an object with"
                    " a string there; --text names another field"
                )
            texts.append(row[column])
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def check_target(source: Path, target: Path) -> None:
    """Refuse a target that :func:`write_rows` cannot or must not write."""
    if _format(source) != _format(target):
        raise UsageError(f"{target}: found another format than that of {source}")
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target}: found the input itself, expected another file")


def write_rows(source: Path, target: Path, rows: NDArray[np.int64]) -> None:
    """Write these rows (ascending) of ``source`` to ``target``, both in the source's format."""
    if _format(source) == ".parquet":
        pq.write_table(pq.read_table(source).take(pa.array(rows)), target, compression="zstd")
        return
    chosen = set(rows.tolist())
    with source.open("rb") as lines, target.open("wb") as out:
        for number, line in enumerate(lines):
            if number in chosen:
                out.write(line if line.endswith(b"\n") else line + b"\n")


def _format(path: Path) -> str:
    if path.suffix not in _FORMATS:
        raise UsageError(f"{path}: found suffix {path.suffix!r}, expected one of {_FORMATS}")
    return path.suffix
