"""People's votes to keep a document or to drop it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import orjson


class VotesError(ValueError):
    """A file has no votes; names file, line, what was found and what was expected."""


@dataclass(frozen=True)
class Vote:
    """A text, and whether most people who read it would keep it."""

    text: str
    keep: bool


def read_votes(path: Path) -> list[Vote]:
    """Votes: JSON lines (``.gz`` or not) with ``text`` and ``label``, 1 to keep and 0 to drop.

    Raises
    ------
    VotesError
        Naming the first line that is none.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    votes = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            row = orjson.loads(line)
            text, keep = row["text"], row["label"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise VotesError(
                f"{path}: line {number}: found {error!r}, expected an object with text and label"
            ) from error
        if not isinstance(text, str) or keep not in (0, 1):
            raise VotesError(
                f"{path}: line {number}: found the label {keep!r}, expected a text and 0 or 1"
            )
        votes.append(Vote(text, bool(keep)))
    if len({vote.keep for vote in votes}) < 2:
        raise VotesError(f"{path}: found votes of one kind, expected some to keep and some to drop")
    return votes
