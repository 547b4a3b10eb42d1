"""Local JSONL, plain, gzip or Zstandard: checked fields; bad rows are told, not dropped."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
import zstandard

from mixtures.items.errors import ItemsError

TOLD = 5
"""Bad lines that an error lists; it counts the others."""

T = TypeVar("T")


class BadField(Exception):
    """A field of a row that is not as its format says."""

    def __init__(self, name: str, found: Any, expected: str) -> None:
        super().__init__(f"{name}: found {_shown(found)}, expected {expected}")


class Row(dict[str, Any]):
    """A row of a file; ``line`` counts from 1. Its methods raise `BadField`."""

    line: int = 0

    def field(self, name: str, expected: str) -> Any:
        """A field that must be there."""
        if name not in self or self[name] is None:
            raise BadField(name, "nothing", expected)
        return self[name]

    def text(self, name: str, *, empty: bool = False) -> str:
        """A text that is not blank, or may be the empty one."""
        expected = "a text"
        value = self.field(name, expected)
        if not isinstance(value, str) or not (value.strip() or (empty and not value)):
            raise BadField(name, value, expected)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts, none blank."""
        expected = "a list of texts"
        value = self.field(name, expected)
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            raise BadField(name, value, expected)
        return value

    def number(self, name: str, choices: int, first: int = 0) -> int:
        """The number of a choice from ``first`` on, given as a number or in digits; from 0 on."""
        expected = f"a number from {first} to {first + choices - 1}"
        value = self.field(name, expected)
        digits = isinstance(value, str) and value.strip().isdecimal()
        number = int(value) if digits else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise BadField(name, value, expected)
        if not 0 <= number - first < choices:
            raise BadField(name, value, expected)
        return number - first


def read_rows(path: Path, of: Callable[[Row], T]) -> list[T]:
    """What ``of`` makes of each row. Blank lines are passed over.

    Raises
    ------
    ItemsError
        If the file cannot be read, has no row, or any row is bad: it lists the first few.
    """
    found: list[T] = []
    problems: list[str] = []
    for row in rows_of(path, problems):
        try:
            found.append(of(row))
        except BadField as error:
            problems.append(f"line {row.line}: {error}")
    refuse(path, problems)
    if not found:
        raise ItemsError(f"{path}: found no row, expected one a line")
    return found


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Raise ItemsError if there are problems."""
    if not problems:
        return
    more = len(problems) - TOLD
    told = [f"{path}: {problem}" for problem in problems[:TOLD]]
    if more > 0:
        told.append(f"{path}: and {more:,} more; a file with bad rows is not used in part")
    raise ItemsError("\n".join(told))


def rows_of(path: Path, problems: list[str]) -> list[Row]:
    """The rows of a file; lines that are no JSON object are added to ``problems``."""
    rows = []
    for number, line in enumerate(_content(path).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.append(f"line {number}: found no JSON ({error}), expected a JSON object")
            continue
        if not isinstance(value, dict):
            problems.append(f"line {number}: found {_shown(value)}, expected a JSON object")
            continue
        row = Row(value)
        row.line = number
        rows.append(row)
    return rows


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)
        if data[:4] == b"\x28\xb5\x2f\xfd":
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
                return stream.read()
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise ItemsError(f"{path}: cannot be read ({error}); expected a file of JSONL") from error
    return data


def _shown(value: Any) -> str:
    if value == "nothing":
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
