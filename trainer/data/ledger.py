"""The step ledger: which documents were in step N, and in which steps was this document.

A JSONL file with a line a step, only ever appended to: ``{"step": 7, "first": 448, "sequences": 64,
"plan": "…", "skipped": [[450, 451]]}``; ``"left_out"`` says why a step was not taken. After a run
goes on from an older checkpoint, steps come again: a line for step N takes back the lines for N and
later that stand before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mixtures.plan import Piece, Plan
from trainer.data.corpus import Corpus
from trainer.data.errors import DataError
from trainer.data.origins import Origin, origins
from trainer.data.state import Ranges

_HASH_DIGITS = 16


@dataclass(frozen=True)
class StepRange:
    """The sequences of one step: ``first`` to ``first + sequences``, less ``skipped``.

    ``left_out``: why none of them changed the weights: a guard's ``skip`` or ``roll_back``, or
    ``no labels``; empty for a step that was taken.
    """

    step: int
    first: int
    sequences: int
    plan: str
    skipped: Ranges = ()
    left_out: str = ""

    def readable(self) -> Iterator[int]:
        """The sequences less ``skipped``."""
        for i in range(self.first, self.first + self.sequences):
            if not any(start <= i < stop for start, stop in self.skipped):
                yield i


@dataclass(frozen=True)
class Occurrence:
    """A piece of a document in a sequence of a step; ``left_out`` as the step's."""

    step: int
    sequence: int
    piece: Piece
    left_out: str = ""


class StepLedger:
    """The ledger of a training run. One rank writes it.

    Raises
    ------
    DataError
        If a line is not one of this ledger's. A last line without its end is what a crash leaves:
        it does not count, and the next `append` takes its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._steps: list[StepRange] = []
        self._whole = 0
        if self.path.exists():
            self._read()

    def append(
        self,
        step: int,
        first: int,
        sequences: int,
        plan: Plan,
        skipped: Ranges = (),
        left_out: str = "",
    ) -> None:
        """Write which sequences a step has; durable when this returns."""
        mine = tuple(
            (max(first, start), min(first + sequences, stop))
            for start, stop in skipped
            if start < first + sequences and first < stop
        )
        entry = StepRange(step, first, sequences, plan.hash[:_HASH_DIGITS], mine, left_out)
        line: dict[str, Any] = {
            "step": step,
            "first": first,
            "sequences": sequences,
            "plan": entry.plan,
        }
        if mine:
            line["skipped"] = mine
        if left_out:
            line["left_out"] = left_out
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if file.tell() != self._whole:
                file.truncate(self._whole)
            file.write(orjson.dumps(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._whole = file.tell()
        self._take(entry)

    def __len__(self) -> int:
        """How many steps there are, those that were taken back not counted."""
        return len(self._steps)

    def __getitem__(self, step: int) -> StepRange:
        """The sequences of a step.

        Raises
        ------
        DataError
            If the run had no such step.
        """
        at = int(np.searchsorted([entry.step for entry in self._steps], step))
        if at == len(self._steps) or self._steps[at].step != step:
            known = f"{self._steps[0].step} to {self._steps[-1].step}" if self._steps else "none"
            raise DataError(f"{self.path}: found no step {step}, expected one of {known}")
        return self._steps[at]

    def documents(self, step: int, plan: Plan, corpus: Corpus) -> list[tuple[int, Piece, Origin]]:
        """What a step read: (sequence, piece, where its document comes from), in order.

        Of a step that was left out, what it would have read; ``self[step].left_out`` tells.

        Raises
        ------
        DataError
            If there is no such step, or it was of another plan or corpus.
        """
        corpus.check(plan)
        entry = self[step]
        self._require(entry, plan)
        pieces = [(i, piece) for i in entry.readable() for piece in plan[i]]
        known = origins(corpus.run, (piece.document for _, piece in pieces))
        return [(i, piece, known[piece.document]) for i, piece in pieces]

    def occurrences(self, document: int, plan: Plan) -> list[Occurrence]:
        """In which steps so far a document was, left out or not, and which pieces of it.

        Steps of other plans (of other stages) are left out. `trainer.data.origins.document_number`
        has the number of an id.
        """
        mine = [e for e in self._steps if e.plan == plan.hash[:_HASH_DIGITS]]
        firsts = np.array([entry.first for entry in mine], np.int64)
        found = []
        for sequence, piece in plan.inverse(document):
            # Steps of one plan follow each other, so their ranges ascend and do not overlap.
            at = int(np.searchsorted(firsts, sequence, side="right")) - 1
            if at >= 0 and sequence in mine[at].readable():
                found.append(Occurrence(mine[at].step, sequence, piece, mine[at].left_out))
        return found

    def _require(self, entry: StepRange, plan: Plan) -> None:
        if entry.plan != plan.hash[:_HASH_DIGITS]:
            raise DataError(
                f"{self.path}: step {entry.step} was of plan {entry.plan}…, found plan "
                f"{plan.hash[:_HASH_DIGITS]}… at {plan.folder}; open the plan of its stage"
            )

    def _take(self, entry: StepRange) -> None:
        while self._steps and self._steps[-1].step >= entry.step:
            self._steps.pop()
        self._steps.append(entry)

    def _read(self) -> None:
        data = self.path.read_bytes()
        self._whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[: self._whole].splitlines(), 1):
            try:
                values = orjson.loads(line)
                skipped = tuple((int(a), int(b)) for a, b in values.get("skipped", ()))
                entry = StepRange(
                    int(values["step"]),
                    int(values["first"]),
                    int(values["sequences"]),
                    str(values["plan"]),
                    skipped,
                    str(values.get("left_out", "")),
                )
            except (
                orjson.JSONDecodeError,
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
            ) as error:
                raise DataError(
                    f"{self.path}: line {number} is not a step ({error!r}), expected step, first, "
                    "sequences and plan; restore the file, or move it away to begin a new one"
                ) from error
            self._take(entry)
