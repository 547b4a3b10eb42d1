"""Distinct documents with planted duplicates, for memory, deduplication and determinism.

Documents come in blocks of ``BLOCK``: what is in a block depends on the seed and the block's number
alone, so the first 100,000 of a million documents are the documents of a set of 100,000. The last
documents of each block are planted copies, exact or near, of earlier ones of this or an earlier
block; the truth about them is part of what is generated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.generate.vocabulary import draw, generator, vocabulary

BLOCK = 1000
VOCABULARY = 30_000
# The forms of a word in running text; a token is ``form * VOCABULARY + rank``.
PLAIN, CAPITAL, SENTENCE_END, LINE_END = range(4)

Kind = Literal["base", "exact", "near"]
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What a set of generated documents looks like.

    ``median_words`` and ``spread`` parametrise a log-normal length, cut to ``words``. ``near`` and
    ``exact`` are fractions of planted copies. A near copy has one word in ``edit_every`` replaced
    (one at least); every replaced word touches five word 5-grams, so 150 gives a Jaccard
    similarity about .93.
    """

    seed: int = 0
    median_words: int = 90
    spread: float = 0.6
    words: tuple[int, int] = (60, 2000)
    near: float = 0.05
    exact: float = 0.02
    edit_every: int = 150

    @property
    def planted(self) -> tuple[int, int]:
        """Exact and near copies in a block."""
        return round(self.exact * BLOCK), round(self.near * BLOCK)


@dataclass(frozen=True)
class Generated:
    """One document: its number, its text, and for a planted copy what it copies."""

    number: int
    text: str
    kind: Kind
    original: int | None


def documents(count: int, shape: Shape | None = None) -> Iterator[Generated]:
    """Documents 0 to ``count - 1``."""
    shape = shape or Shape()
    for block in range(-(-count // BLOCK)):
        yield from _block(shape, block, min(BLOCK, count - block * BLOCK))


def _block(shape: Shape, block: int, limit: int) -> Iterator[Generated]:
    exact, near = shape.planted
    own = BLOCK - exact - near
    bodies = _bodies(shape, block)
    first = block * BLOCK
    for i in range(min(own, limit)):
        yield Generated(first + i, _spell(bodies[i]), "base", None)
    rng = generator(shape.seed, 3, block)
    source = int(rng.integers(0, block + 1))
    originals = rng.integers(0, own, size=exact + near)
    copied = bodies if source == block else _bodies(shape, source)
    for i in range(own, limit):
        j = int(originals[i - own])
        kind: Kind = "exact" if i - own < exact else "near"
        body = copied[j] if kind == "exact" else _edit(copied[j], rng, shape.edit_every)
        yield Generated(first + i, _spell(body), kind, source * BLOCK + j)


def _bodies(shape: Shape, block: int) -> list[Tokens]:
    """The tokens of the block's own documents."""
    rng = generator(shape.seed, 2, block)
    own = BLOCK - sum(shape.planted)
    lengths = rng.lognormal(np.log(shape.median_words), shape.spread, size=own).astype(np.int64)
    lengths = np.clip(lengths, *shape.words)
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    ranks = draw(rng, total, VOCABULARY)
    form = np.zeros(total, np.int64)
    sentence_ends = np.cumsum(rng.integers(6, 24, size=total // 6 + 1))
    sentence_ends = sentence_ends[sentence_ends < total - 1]
    paragraph = rng.random(sentence_ends.size) < 0.25
    form[sentence_ends] = np.where(paragraph, LINE_END, SENTENCE_END)
    form[ends - lengths] = PLAIN  # no document begins with a sentence of one word
    form[ends - 1] = LINE_END
    after = np.concatenate([[0], np.flatnonzero(form >= SENTENCE_END)[:-1] + 1])
    form[after] = np.where(form[after] == PLAIN, CAPITAL, form[after])
    return np.split(form * VOCABULARY + ranks, ends[:-1])


def _edit(body: Tokens, rng: np.random.Generator, edit_every: int) -> Tokens:
    count = max(1, body.size // edit_every)
    at = rng.choice(body.size, size=count, replace=False)
    edited = body.copy()
    form, rank = np.divmod(body[at], VOCABULARY)
    edited[at] = form * VOCABULARY + (rank + rng.integers(1, VOCABULARY, size=count)) % VOCABULARY
    return edited


@functools.cache
def _spellings() -> list[str]:
    words = vocabulary(VOCABULARY, 0)
    return [
        *(f"{word} " for word in words),
        *(f"{word.capitalize()} " for word in words),
        *(f"{word}. " for word in words),
        *(f"{word}.\n" for word in words),
    ]


def _spell(body: Tokens) -> str:
    spellings = _spellings()
    return "".join([spellings[t] for t in body.tolist()]).rstrip("\n")


def write_documents(
    folder: Path,
    count: int,
    shape: Shape | None = None,
    *,
    form: Literal["jsonl", "jsonl.zst", "parquet"] = "jsonl.zst",
    per_file: int = 20_000,
) -> list[Path]:
    """Write ``count`` documents to ``folder/part-NNNNN.FORM`` and the truth beside the folder.

    Rows have ``id`` (the number, as a string) and ``text``. The truth about planted copies goes to
    ``FOLDER.truth.jsonl``: ``id``, ``kind``, ``original``. Returns the parts in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    rows: list[Generated] = []
    with folder.with_name(folder.name + ".truth.jsonl").open("wb") as truth:
        for document in documents(count, shape):
            rows.append(document)
            if document.original is not None:
                row = {
                    "id": str(document.number),
                    "kind": document.kind,
                    "original": str(document.original),
                }
                truth.write(orjson.dumps(row) + b"\n")
            if len(rows) == per_file or document.number == count - 1:
                part = folder / f"part-{len(parts):05d}.{form}"
                _write_part(part, rows)
                parts.append(part)
                rows = []
    return parts


def _write_part(part: Path, rows: list[Generated]) -> None:
    if part.suffix == ".parquet":
        table = pa.table(
            {
                "id": pa.array([str(row.number) for row in rows], pa.string()),
                "text": pa.array([row.text for row in rows], pa.large_string()),
            }
        )
        pq.write_table(table, part, compression="zstd", row_group_size=5000)
        return
    lines = b"".join(
        orjson.dumps({"id": str(row.number), "text": row.text}) + b"\n" for row in rows
    )
    if part.suffix == ".zst":
        lines = zstandard.ZstdCompressor(level=3, threads=0).compress(lines)
    part.write_bytes(lines)
