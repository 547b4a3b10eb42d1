"""``trainer explain``: which documents were in a step, and in which steps a document was."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from trainer.data.explain import RunRead


def add_commands(add: Callable[[str, Callable[[argparse.Namespace], int], str], Any]) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("explain", run_explain, "which documents were in a step, or the other way round")
    sub.add_argument("folder", type=Path, metavar="RUN", help="what `trainer run` wrote")
    sub.add_argument(
        "--corpus", required=True, metavar="RUN", help="what it was trained on: folder or URI"
    )
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--step", type=int, metavar="N", help="counted from 1")
    which.add_argument("--document", metavar="ID", help="32 hexadecimal digits")


def run_explain(options: argparse.Namespace) -> int:
    """Write a table or JSON; raises DataError, and RunError for what is no corpus."""
    from trainer.data.corpus import Corpus
    from trainer.data.explain import RunRead

    corpus = Corpus.open(options.corpus)
    try:
        run = RunRead(options.folder, corpus)
        told, lines = (
            _step(run, options.step)
            if options.document is None
            else _document(run, options.document)
        )
    finally:
        corpus.close()
    if options.json:
        lines = [orjson.dumps({"ok": True, **told}).decode()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _step(run: RunRead, step: int) -> tuple[dict[str, Any], list[str]]:
    found, entry = run.documents(step), run.ledger[step]
    tokens = sum(one.tokens for one in found)
    told = {
        "step": step,
        "sequences": [entry.first, entry.first + entry.sequences],
        "skipped": [list(one) for one in entry.skipped],
        "left_out": entry.left_out or None,
        "tokens": tokens,
        "documents": [one.as_json() for one in found],
    }
    skipped = sum(stop - start for start, stop in entry.skipped)
    head = (
        f"step {step}: {len(found):,} documents, {tokens:,} tokens, sequences {entry.first} to "
        f"{entry.first + entry.sequences - 1}"
        + (f", {skipped} of them skipped" if skipped else "")
        + (f"; left out ({entry.left_out}): not trained on" if entry.left_out else "")
    )
    width = max((len(one.origin.source) for one in found), default=0)
    rows = [
        f"{one.origin.doc_id}  {one.tokens:>8,}  {one.origin.source:<{width}}  {one.origin.uri}"
        for one in found
    ]
    return told, [head, *rows]


def _document(run: RunRead, doc_id: str) -> tuple[dict[str, Any], list[str]]:
    from trainer.data.explain import piece_as_json

    origin, found = run.occurrences(doc_id)
    told = {
        "doc_id": origin.doc_id,
        "source": origin.source,
        "uri": origin.uri,
        "steps": sorted({one.step for one in found if not one.left_out}),
        "left_out": sorted({one.step for one in found if one.left_out}),
        "occurrences": [
            {"step": one.step, **piece_as_json(one.sequence, one.piece)} for one in found
        ],
    }
    place = f"{origin.doc_id}  {origin.source}  {origin.uri}"
    if not found:
        return told, [place, f"in none of the run's {len(run.ledger):,} steps so far"]
    rows = [
        f"step {one.step:>8}  sequence {one.sequence:>8}  tokens {one.piece.token_start:,} to "
        f"{one.piece.token_start + one.piece.token_length - 1:,}"
        + (f"  left out ({one.left_out})" if one.left_out else "")
        for one in found
    ]
    return told, [place, *rows]
