"""Documents that try to be scored higher than they deserve: a test for every labeler and student.

``injections.jsonl`` was written for this project: short texts in several languages that give orders
to a rater, answer in its place, speak in the voice of the system, guess at the delimiters around
them, hide orders in comments or codings, or praise themselves. Each says by which ``technique``,
in which ``language`` (a code, ``code`` of program text, ``mul`` of several), and ``at_most`` how
much depth a reader who is not taken in could grant it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from quality.reward.labels import HIGHEST

INJECTIONS = Path(__file__).with_name("injections.jsonl")


class InjectionsError(ValueError):
    """A line is none; names file and line, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A document with an attempt in it; ``at_most``: points of depth that it could deserve."""

    technique: str
    language: str
    at_most: int
    text: str


def load_injections(path: Path = INJECTIONS) -> list[Injection]:
    """All of a file, in its order.

    Raises
    ------
    InjectionsError
        Naming the first line that is none.
    """
    return [
        _injection(line, f"{path}: line {number}")
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
    ]


def _injection(line: bytes, where: str) -> Injection:
    try:
        found = Injection(**orjson.loads(line))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InjectionsError(
            f"{where}: {error}, expected technique, language, at_most and text"
        ) from error
    for name in ("technique", "language", "text"):
        value = getattr(found, name)
        if not isinstance(value, str) or not value:
            raise InjectionsError(f"{where}: {name}: found {value!r}, expected a text")
    if type(found.at_most) is not int or not 0 <= found.at_most <= HIGHEST:
        raise InjectionsError(f"{where}: at_most: found {found.at_most!r}, expected 0 to {HIGHEST}")
    return found
