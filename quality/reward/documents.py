"""Documents to judge, a batch at a time: of a finished run's ``documents/``, or of JSON lines.

A line is an object with ``text``; ``source``, ``uri`` and ``offset`` are taken where it has them;
else the offset is that of the line in the unpacked file, in bytes. A document's ``content_id`` is
XXH3-128 of its text, as a build's is (``dataflow.ids``): labels and scores name documents by it,
wherever their text is found.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
import zstandard

SCHEMA = pa.schema(
    [
        pa.field("content_id", pa.binary(16), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
BATCH_BYTES = 16 << 20
"""Of text, about; a document is never cut."""


class DocumentsError(ValueError):
    """An input has no documents; names file, line, what was found and what was expected."""


def read_documents(path: Path) -> Iterator[pa.Table]:
    """Tables with the columns of ``SCHEMA``, in the order of files and lines.

    Parameters
    ----------
    path : the folder of a run, or a file that ends in one of ``SUFFIXES``

    Raises
    ------
    DocumentsError
        If it is neither, or a line is no object with a text.
    """
    if not path.exists():
        raise DocumentsError(f"{path}: found no such file or folder, expected a run or JSON lines")
    if path.is_dir():
        yield from _of_run(path)
    elif path.name.endswith(SUFFIXES):
        yield from _of_lines(path)
    else:
        raise DocumentsError(
            f"{path}: found {path.suffix or 'no suffix'}, expected the folder of a run, or a file "
            f"that ends in {', '.join(SUFFIXES)}"
        )


def held_out(path: Path) -> frozenset[bytes]:
    """The content ids that a run holds out: they train nothing. Empty for JSON lines."""
    if not path.is_dir():
        return frozenset()
    found: set[bytes] = set()
    for name in sorted((path / "index").glob("heldout-*.parquet")):
        found.update(pq.read_table(name, columns=["content_id"])["content_id"].to_pylist())
    return frozenset(found)


def texts_of(paths: Sequence[Path], wanted: frozenset[bytes]) -> dict[bytes, str]:
    """The texts of those of the wanted content ids that lie in the inputs."""
    found: dict[bytes, str] = {}
    for path in paths:
        for table in read_documents(path):
            for i, name in enumerate(table["content_id"].to_pylist()):
                if name in wanted and name not in found:
                    found[name] = table["text"][i].as_py()
    return found


def _of_run(folder: Path) -> Iterator[pa.Table]:
    if not (folder / "journal" / "run.json").is_file():
        raise DocumentsError(
            f"{folder}: found no journal/run.json, expected a finished run; "
            f"run `python -m dataflow build RECIPE --out {folder}`"
        )
    for name in sorted((folder / "documents").glob("*.parquet")):
        with pq.ParquetFile(name) as file:
            for batch in file.iter_batches(batch_size=4096, columns=SCHEMA.names):
                yield from _parts(pa.table(batch).cast(SCHEMA))


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """Slices of about ``BATCH_BYTES`` each, so that no pass holds more."""
    start = held = 0
    for i, size in enumerate(pc.binary_length(table["text"]).to_pylist()):
        if held and held + size > BATCH_BYTES:
            yield table.slice(start, i - start)
            start, held = i, 0
        held += size
    if start < table.num_rows:
        yield table.slice(start)


def _of_lines(path: Path) -> Iterator[pa.Table]:
    rows: list[dict[str, str | bytes | int]] = []
    held = place = 0
    for number, line in enumerate(_lines(path), 1):
        offset, place = place, place + len(line)
        if not line.strip():
            continue
        row = _row(line, offset, f"{path}: line {number}")
        rows.append(row)
        held += len(line)
        if held > BATCH_BYTES:
            yield pa.Table.from_pylist(rows, SCHEMA)
            rows, held = [], 0
    if rows:
        yield pa.Table.from_pylist(rows, SCHEMA)


def _row(line: bytes, place: int, where: str) -> dict[str, str | bytes | int]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DocumentsError(f"{where}: found no JSON ({error}), expected an object") from error
    text = found.get("text") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise DocumentsError(
            f"{where}: text: found {type(text).__name__}, expected an object with a text"
        )
    offset = found.get("offset", place)
    if type(offset) is not int or not 0 <= offset < 1 << 63:
        raise DocumentsError(f"{where}: offset: found {offset!r}, expected a whole number from 0")
    return {
        "content_id": xxhash.xxh3_128_digest(text.encode()),
        "source": str(found.get("source", "")),
        "uri": str(found.get("uri", "")),
        "offset": offset,
        "text": text,
    }


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with _opened(path) as file:
            yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise DocumentsError(
            f"{path}: found a damaged file ({error}), expected one that unpacks; fetch or pack it "
            "again"
        ) from error


def _opened(path: Path) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return io.BufferedReader(gzip.open(path, "rb"))
    if path.name.endswith(".zst"):
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb")))
    return path.open("rb")
