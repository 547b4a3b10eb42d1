"""Gains on their way to a file of scores: a part a block, so that an interrupted run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.evaluation.caption_gains import Gain, ShownPair
from trainer.evaluation.errors import EvaluationError
from vl_data.reward.scores_file import (
    SCHEMA,
    ScoresError,
    in_steps,
    read_origin,
    tagged,
    write_scores,
)


class GainParts:
    """Parts beside a file that is not there yet, in ``FILE.parts``.

    Args:
        out: the file.
        scorer: who scores; parts of another one are refused.
        corpus: the logical root of the run that is scored.

    Raises:
        EvaluationError: the file or a part is another scorer's, of another run, or damaged.
    """

    def __init__(self, out: Path, scorer: str, corpus: str) -> None:
        self._out, self._origin = out, (scorer, corpus)
        self._folder = out.with_name(f"{out.name}.parts")
        for path in [out, *sorted(self._folder.glob("*.parquet"))]:
            if path.exists():
                self._check(path)

    @property
    def finished(self) -> bool:
        """Whether the file is there: the whole of this run by this scorer."""
        return self._out.exists()

    def has(self, name: str) -> bool:
        """Whether the part of a block is there."""
        return self._path(name).exists()

    def add(self, name: str, pairs: Sequence[ShownPair], gains: Sequence[Gain]) -> None:
        """Write the part of a block: there whole or not at all."""
        columns = {
            "pair_id": [pair.id for pair in pairs],
            "gain": [_on_grid(gain.other) for gain in gains],
            "gain_unseen": [_on_grid(gain.unseen) for gain in gains],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._path(name).with_suffix(".part")
        pq.write_table(pa.table(columns, schema=tagged(*self._origin)), beside)
        beside.replace(self._path(name))

    def join(self, names: Sequence[str]) -> pa.Table:
        """Write the file from the parts of these blocks, delete the parts, and give its rows."""
        parts = [pq.read_table(self._path(name)).cast(SCHEMA) for name in names]
        rows = pa.concat_tables([SCHEMA.empty_table(), *parts])
        write_scores(self._out, *self._origin, rows)
        shutil.rmtree(self._folder, ignore_errors=True)
        return rows

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.parquet"

    def _check(self, path: Path) -> None:
        try:
            found = read_origin(path)
        except ScoresError as error:
            raise EvaluationError(f"{path}: {error}; choose another --out, or delete it") from error
        for what, mine, wanted in zip(("scorer", "corpus"), found, self._origin, strict=True):
            if mine != wanted:
                raise EvaluationError(
                    f"{path}: found scores of another {what}: {mine}, expected {wanted}; choose "
                    "another --out, or delete it"
                )


def _on_grid(gain: float | None) -> float | None:
    return None if gain is None else in_steps(gain)
