"""The texts a tokenizer is trained from: files, or the train-split documents of a run."""

from __future__ import annotations

import gzip
import heapq
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import orjson
import pyarrow.parquet as pq
import xxhash
import zstandard

from dataflow.shards import read_content_shard
from dataflow.tokenizer.errors import TokenizerError

KINDS = ".jsonl, .jsonl.gz, .jsonl.zst, .txt, .parquet, .tar, or a run folder"


def text_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that inputs stand for: a run folder stands for its train-split content shards.

    Held-out documents train nothing, so their shards are refused.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            shards = sorted((path / "shards" / "content").glob("train-*.tar"))
            if not shards:
                raise TokenizerError(
                    f"{path}: no shards/content/train-*.tar; expected a run folder"
                )
            files += shards
        elif not path.is_file():
            raise TokenizerError(f"{path}: no such file; expected {KINDS}")
        elif path.suffix == ".tar" and path.name.startswith("heldout"):
            raise TokenizerError(f"{path}: holds held-out documents, which train nothing")
        else:
            files.append(path)
    return files


def read_texts(files: Iterable[Path], field: str = "text") -> Iterator[str]:
    """The texts of files, one after the other, with memory for one record.

    Parameters
    ----------
    field : str
        The field or column that holds the text, in JSON lines and Parquet.
    """
    for path in files:
        kind = path.name.removesuffix(".gz").removesuffix(".zst")
        if kind.endswith(".jsonl"):
            yield from _json_lines(path, field)
        elif kind.endswith(".parquet"):
            for batch in pq.ParquetFile(path).iter_batches(256, columns=[field]):
                yield from (text for text in batch.column(0).to_pylist() if text)
        elif kind.endswith(".tar"):
            for sample in read_content_shard(path):
                for i in range(len(sample)):
                    yield from sample.pieces(i)
        elif kind.endswith(".txt"):
            yield path.read_text(encoding="utf-8", errors="strict")
        else:
            raise TokenizerError(f"{path}: unknown kind of file; expected {KINDS}")


def _json_lines(path: Path, field: str) -> Iterator[str]:
    with _decompressed(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = orjson.loads(line)[field]
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise TokenizerError(
                    f"{path}: line {number}: expected a JSON object with {field!r} ({error})"
                ) from error
            if text:
                yield str(text)


def _decompressed(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    raw = path.open("rb")
    if path.suffix != ".zst":
        return raw
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return io.BufferedReader(reader)


def sample_by_hash(texts: Iterable[str], max_bytes: int) -> list[str]:
    """The texts with the smallest content hashes that fill ``max_bytes`` (UTF-8), sorted by it.

    The choice depends on the texts alone, not on their order. Memory: ``max_bytes`` and one text.
    """
    heap: list[tuple[int, int, str]] = []
    held = 0
    seen: set[int] = set()
    for text in texts:
        data = text.encode()
        key = xxhash.xxh3_64_intdigest(data)
        if key in seen or (held >= max_bytes and -heap[0][0] < key):
            continue
        seen.add(key)
        heapq.heappush(heap, (-key, len(data), text))
        held += len(data)
        while held - heap[0][1] >= max_bytes:
            largest = heapq.heappop(heap)
            held -= largest[1]
            seen.discard(-largest[0])
    return [text for _, _, text in sorted(heap, reverse=True)]
