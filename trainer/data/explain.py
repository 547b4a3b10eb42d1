"""What a training run read: the documents of a step, and the steps of a document."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixtures.errors import PlanError
from mixtures.plan import Piece, Plan
from trainer.data.corpus import Corpus
from trainer.data.errors import DataError
from trainer.data.ledger import Occurrence, StepLedger
from trainer.data.origins import Origin, document_number, origins

LEDGER, PLANS = "steps.jsonl", "plans"
_DIGITS = 16


@dataclass(frozen=True)
class Read:
    """What a step read of a document: its pieces, each in a sequence of the plan."""

    origin: Origin
    pieces: tuple[tuple[int, Piece], ...]

    @property
    def tokens(self) -> int:
        """Of all the pieces."""
        return sum(piece.token_length for _, piece in self.pieces)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "doc_id": self.origin.doc_id,
            "source": self.origin.source,
            "uri": self.origin.uri,
            "tokens": self.tokens,
            "pieces": [piece_as_json(sequence, piece) for sequence, piece in self.pieces],
        }


def piece_as_json(sequence: int, piece: Piece) -> dict[str, int]:
    """A piece of a document in a sequence of the plan."""
    return {
        "sequence": sequence,
        "token_start": piece.token_start,
        "tokens": piece.token_length,
    }


class RunRead:
    """What a run's folder says of its data, held against the corpus that it was trained on.

    Raises
    ------
    DataError
        If the folder has no ledger or no plan, or is of another corpus or tokenizer.
    """

    def __init__(self, folder: Path, corpus: Corpus) -> None:
        self.folder, self.corpus = folder, corpus
        if not (folder / LEDGER).is_file():
            raise DataError(
                f"{folder}: found no {LEDGER}, expected the folder of a run that took a step"
            )
        self.ledger = StepLedger(folder / LEDGER)
        self._plans: dict[str, Plan] = {}
        for path in sorted((folder / PLANS).glob("plan-*")):
            try:
                plan = Plan.open(path)
            except PlanError:
                continue  # being compiled, or cut short; one that is asked for is missed below
            corpus.check(plan)
            self._plans[plan.hash[:_DIGITS]] = plan
        if not self._plans:
            raise DataError(f"{folder}: found no whole plan in {PLANS}/, expected the run's")

    def documents(self, step: int) -> list[Read]:
        """The documents of a step, in the order in which it first reads each.

        Of a step that was left out (``ledger[step].left_out``), those that it would have read.

        Raises
        ------
        DataError
            If the run had no such step.
        """
        wanted = self.ledger[step].plan
        if wanted not in self._plans:
            raise DataError(
                f"{self.folder}: found no whole plan {wanted}… in {PLANS}/, expected that of step "
                f"{step}; copy it back"
            )
        found: dict[int, Read] = {}
        for sequence, piece, origin in self.ledger.documents(
            step, self._plans[wanted], self.corpus
        ):
            before = found.get(piece.document, Read(origin, ()))
            found[piece.document] = replace(before, pieces=(*before.pieces, (sequence, piece)))
        return list(found.values())

    def occurrences(self, doc_id: str) -> tuple[Origin, list[Occurrence]]:
        """Where a document comes from, and the steps so far that read it or were left out.

        Raises
        ------
        DataError
            If the corpus has no such document.
        """
        if not re.fullmatch(r"[0-9a-fA-F]{32}", doc_id):
            raise DataError(
                f"--document: found {doc_id!r}, expected an id of 32 hexadecimal digits, as "
                "`python -m dataflow why` and --step show them"
            )
        number = document_number(self.corpus.run, doc_id)
        found = [o for plan in self._plans.values() for o in self.ledger.occurrences(number, plan)]
        found.sort(key=lambda o: (o.step, o.sequence))
        return origins(self.corpus.run, [number])[number], found
