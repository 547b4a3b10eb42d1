"""What a model says of pairs of image and caption: the file that it writes and a build reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vl_data.reward.points import GAIN

TABLE = "image_reward/scores"
VERSION = "1"
_MOST = 64
"""Nats a byte, either way, that a gain is written as where it is more."""

SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.binary(16), nullable=False),
        pa.field("gain", pa.float32()),
        pa.field("gain_unseen", pa.float32()),
    ]
)
"""A pair a row, by ``vl_data.reward.pairs.pair_id``: ascending, each once.

``gain``: log-probability of the caption with its image less that with another's, in nats a byte of
the caption, in 1024ths. ``gain_unseen``: less that without an image. Null where it could not be
measured.
"""

_EXPECTED = "expected what `python -m trainer image-reward` writes"


class ScoresError(ValueError):
    """A file is none of scores: says what was found and what was expected."""


@dataclass(frozen=True)
class PairScores:
    """``pair`` V16[n], ascending; gains in 1024ths int64[n], and whether they are known bool[n];
    ``scorer``: who made them."""

    scorer: str
    pair: NDArray[np.void]
    gain: NDArray[np.int64]
    known: NDArray[np.bool_]
    gain_unseen: NDArray[np.int64]
    known_unseen: NDArray[np.bool_]

    def places(self, pairs: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The row of each of some pairs (V16[p]), and whether it has one."""
        if not len(self.pair):
            return np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.bool_)
        own, asked = self.pair.view("S16"), pairs.view("S16")
        place = np.minimum(np.searchsorted(own, asked), len(own) - 1)
        return place.astype(np.int64), own[place] == asked


def tagged(scorer: str, corpus: str) -> pa.Schema:
    """``SCHEMA`` with the file's metadata: who scored, and the root of the run that was scored."""
    named = {"leyden.table": TABLE, "leyden.version": VERSION, "leyden.scorer": scorer}
    return SCHEMA.with_metadata({**named, "leyden.corpus": corpus})


def in_steps(nats_per_byte: float) -> float:
    """A finite gain on the file's grid: the nearest 1024th, of two the even one."""
    return max(-_MOST * GAIN, min(_MOST * GAIN, round(nats_per_byte * GAIN))) / GAIN


def write_scores(path: Path, scorer: str, corpus: str, rows: pa.Table) -> None:
    """Write rows of ``SCHEMA``, in any order; of a pair that comes twice the first is taken.

    The file is there whole or not at all.
    """
    pairs = np.frombuffer(b"".join(rows["pair_id"].to_pylist()), "S16")
    _, first = np.unique(pairs, return_index=True)
    table = rows.take(pa.array(first)).cast(tagged(scorer, corpus))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    pq.write_table(table, beside, compression="zstd")
    beside.replace(path)


def read_scores(path: str | Path) -> PairScores:
    """Read a file of scores, and check all of it.

    Raises
    ------
    ScoresError
        If it cannot be read, is of another table or version, lacks a column, names no scorer, its
        pairs do not ascend, or a gain is no 1024th or beyond what a model can say.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ScoresError(f"found no Parquet file to read ({error}), {_EXPECTED}") from error
    scorer = _scorer(table.schema)
    pairs = b"".join(table["pair_id"].to_pylist())
    ids = np.frombuffer(pairs, "S16")
    # NumPy's S drops zeros at the end in comparisons, on both sides alike.
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(wrong):
        row = int(wrong[0]) + 1
        raise ScoresError(
            f"found pair {pairs[16 * row : 16 * row + 16].hex()} in row {row} behind "
            f"{pairs[16 * row - 16 : 16 * row].hex()}, expected each pair once and ascending"
        )
    gain, known = _gains(table, "gain")
    unseen, known_unseen = _gains(table, "gain_unseen")
    return PairScores(scorer, np.frombuffer(pairs, "V16"), gain, known, unseen, known_unseen)


def scores_digest(path: str | Path) -> str:
    """BLAKE3 of a file of scores, 64 hex digits. Raises ``OSError`` if it cannot be read."""
    digest = blake3.blake3()
    digest.update_mmap(path)
    return str(digest.hexdigest())


def read_scorer(path: str | Path) -> str:
    """Who made a file of scores, from its schema alone; raises as ``read_scores``."""
    return read_origin(path)[0]


def read_origin(path: str | Path) -> tuple[str, str]:
    """Who made a file of scores, and of which run (its logical root); raises as ``read_scores``."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ScoresError(f"found no Parquet file to read ({error}), {_EXPECTED}") from error
    return _scorer(schema), schema.metadata.get(b"leyden.corpus", b"").decode()


def _scorer(schema: pa.Schema) -> str:
    metadata: dict[bytes, Any] = schema.metadata or {}
    told = {
        name: metadata.get(f"leyden.{name}".encode(), b"").decode()
        for name in ("table", "version", "scorer")
    }
    if told["table"] != TABLE:
        raise ScoresError(f"found table {told['table'] or 'without a name'!r}, {_EXPECTED}")
    if told["version"] != VERSION:
        raise ScoresError(
            f"found version {told['version']!r} of {TABLE}, expected {VERSION}; score again"
        )
    if not told["scorer"]:
        raise ScoresError(f"found no scorer in the metadata of {TABLE}, {_EXPECTED}")
    if not schema.remove_metadata().equals(SCHEMA):
        raise ScoresError(
            f"found columns {_columns(schema)}, expected {_columns(SCHEMA)}; score again"
        )
    return str(told["scorer"])


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} {f.type}{'' if f.nullable else ' (never null)'}" for f in schema)


def _gains(table: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    column = table[name].combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.float64)
    steps = values * GAIN
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(
            ~(np.isfinite(values) & (np.abs(values) <= _MOST)) | (steps % 1 != 0)
        )
    if len(wrong):
        row = int(wrong[0])
        raise ScoresError(
            f"found {name} {values[row]:g} in row {row}, expected a multiple of 1/{GAIN} from "
            f"-{_MOST} to {_MOST}"
        )
    return steps.astype(np.int64), known
