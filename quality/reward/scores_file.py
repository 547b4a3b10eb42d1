"""A file of scores: what scored a corpus, kept as an input artefact of a build.

Parquet, one row a content: ``content_id`` (16 bytes, ascending, none twice), then the columns of
``schema("reward")``, null where a content could not be scored. The schema's metadata names the
scorer: a student's version, or a model and its rubric. A file has one scorer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from quality.reward.labels import CATEGORIES, HIGHEST, SCORES
from quality.reward.student.model import GRID_BITS
from quality.signals import schema

TABLE = b"reward/scores"
SCHEMA = pa.schema([pa.field("content_id", pa.binary(16), nullable=False), *schema("reward")])


def student_scorer(kind: str, version: str) -> str:
    """What files of scores, builds and cards call a student of a kind, by its version."""
    return f"{kind} student {version}"


class ScoresError(ValueError):
    """A file has no scores, or damaged ones; names file and row, what was found and expected."""


def write_scores(path: Path, tables: Iterable[pa.Table], scorer: str) -> int:
    """Write the scores of tables with the columns of ``SCHEMA``, sorted; returns the rows.

    A content that occurs again has the same text, and by one scorer the same scores: one row stays.
    """
    whole = pa.concat_tables(
        [SCHEMA.empty_table(), *(t.select(SCHEMA.names).cast(SCHEMA) for t in tables)]
    )
    ids = _ids(whole["content_id"])
    _, first = np.unique(ids, return_index=True)
    found = whole.take(pa.array(first)).cast(SCHEMA)
    metadata = {b"leyden.table": TABLE, b"leyden.scorer": scorer.encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(found.replace_schema_metadata(metadata), path, compression="zstd")
    return int(found.num_rows)


def read_scores(path: Path) -> tuple[pa.Table, str]:
    """The scores of a file and their scorer.

    Raises
    ------
    ScoresError
        If it has another form, no scorer, a content twice or out of order, or a score or category
        that cannot be.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ScoresError(
            f"{path}: found no Parquet file that can be read ({error}), expected a file of "
            "`python -m quality score … --out`"
        ) from error
    metadata = table.schema.metadata or {}
    scorer = metadata.get(b"leyden.scorer", b"").decode()
    if metadata.get(b"leyden.table") != TABLE or not scorer:
        raise ScoresError(
            f"{path}: found no scores with their scorer named, expected the metadata "
            f"leyden.table = {TABLE.decode()} and leyden.scorer; write it by `write_scores`"
        )
    if not table.schema.equals(SCHEMA, check_metadata=False):
        raise ScoresError(f"{path}: found the columns\n{table.schema}\nexpected\n{SCHEMA}")
    ids = _ids(table["content_id"])
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(wrong):
        raise ScoresError(
            f"{path}: row {wrong[0] + 1}: found a content_id that is not above the one before it, "
            "expected ascending ones, none twice"
        )
    for name in SCORES:
        values = table[f"reward.{name}"].to_numpy().astype(np.float64)
        grid = values * (1 << GRID_BITS)
        good = np.isnan(values) | ((grid == np.rint(grid)) & (values >= 0) & (values <= HIGHEST))
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise ScoresError(
                f"{path}: row {row}: reward.{name}: found {values[row]:g}, expected 0 to "
                f"{HIGHEST} in steps of 1/{1 << GRID_BITS}"
            )
    others = set(pc.unique(table["reward.category"]).to_pylist()) - {None, *CATEGORIES}
    if others:
        raise ScoresError(
            f"{path}: reward.category: found {', '.join(map(repr, sorted(others)))}, "
            f"expected one of {', '.join(CATEGORIES)}"
        )
    return table, scorer


def _ids(column: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """The ids as ``S16``, ordered as bytes. NumPy ignores zero bytes at the end, which makes no two
    different ids of 16 bytes equal, nor turns any two around."""
    whole = pa.concat_arrays([pa.array([], pa.binary(16)), *column.chunks])
    data = np.frombuffer(whole.buffers()[1] or b"", np.uint8)
    return data[16 * whole.offset : 16 * (whole.offset + len(whole))].view("S16")
