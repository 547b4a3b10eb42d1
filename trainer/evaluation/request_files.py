"""Requests for likelihoods, and the answers to them: two files of JSON lines.

A request is ``{"id": …, "context": …, "continuations": [… …]}``. The first line of the answers says
which model gave them; each other line is ``{"id", "request", "tokens", "log_probabilities"}``, with
the request's digest, the tokens of its context, and the log-probability (nats, summed over tokens)
of each continuation; or, of a request that is longer than the model reads, ``"refused"`` with the
reason in their place. Answers are only ever added to: whoever reads them asks by id.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from trainer.closing import Closing
from trainer.evaluation.errors import EvaluationError

_EXPECTED = '{"id": …, "context": …, "continuations": [… …]}'


@dataclass(frozen=True, slots=True)
class Request:
    """A context and what may follow it, none of them empty. ``line``: of its file, from 1."""

    id: str
    context: str
    continuations: tuple[str, ...]
    line: int

    def digest(self) -> str:
        """32 hex digits over what is asked."""
        asked = orjson.dumps([self.context, self.continuations])
        return str(blake3(asked).hexdigest(length=16))


def read_requests(path: Path) -> Iterator[Request]:
    """The requests of a file, one at a time.

    Raises
    ------
    EvaluationError
        Naming the line that is none, or an id that comes again.
    """
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            request = _request(line, number, f"{path}: line {number}")
            if request.id in seen:
                raise EvaluationError(
                    f"{path}: line {number}: id: found {request.id!r}, which line "
                    f"{seen[request.id]} has, expected another one"
                )
            seen[request.id] = number
            yield request


def _request(line: bytes, number: int, where: str) -> Request:
    try:
        row = orjson.loads(line)
        name, context, continuations = row["id"], row["context"], row["continuations"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise EvaluationError(f"{where}: {error!r}; expected {_EXPECTED}") from error
    for field, value in (("id", name), ("context", context)):
        if not isinstance(value, str) or not value:
            raise EvaluationError(f"{where}: {field}: found {value!r}, expected a text")
    if not (
        isinstance(continuations, list)
        and continuations
        and all(isinstance(one, str) and one for one in continuations)
    ):
        raise EvaluationError(
            f"{where}: continuations: found {continuations!r}, expected a list of texts"
        )
    return Request(name, context, tuple(continuations), number)


class AnswerFile(Closing):
    """Answers, to be added to; one process at a time.

    Parameters
    ----------
    path : begun if there is none
    model : what the first line says of the model

    Raises
    ------
    EvaluationError
        If another process writes there, the answers are another model's, or a line is damaged. An
        unfinished last line (of a killed run) is cut off.
    """

    def __init__(self, path: Path, model: Mapping[str, Any]) -> None:
        self._path = path
        self._digests: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._read(model):
                self._write(orjson.dumps({"model": model}) + b"\n")
        except BlockingIOError:
            self._file.close()
            raise EvaluationError(
                f"{path}: another run writes here; wait for its end or choose another file"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._digests)

    def close(self) -> None:
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def has(self, request: Request) -> bool:
        """Whether it is answered.

        Raises
        ------
        EvaluationError
            If the answer under its id is to another request.
        """
        known = self._digests.get(request.id)
        if known is not None and known != request.digest():
            raise EvaluationError(
                f"{self._path}: found an answer to another request of id {request.id!r}, expected "
                "ids to name what is asked; choose another file"
            )
        return known is not None

    def add(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Add lines with ``id`` and ``request``: written when this returns."""
        rows = list(answers)
        self._write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        for row in rows:
            self._digests[row["id"]] = row["request"]

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _read(self, model: Mapping[str, Any]) -> bool:
        """Whether there was a first line."""
        place = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file.fileno(), place)
                    break
                try:
                    row = orjson.loads(line)
                    if number == 1:
                        self._compare(row["model"], model)
                    else:
                        self._digests[row["id"]] = row["request"]
                except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                    raise EvaluationError(
                        f"{self._path}: line {number}: found {line[:40]!r}…, expected an answer; "
                        "delete the line or choose another file"
                    ) from error
                place += len(line)
        return place > 0

    def _compare(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for name in wanted:
            if found.get(name) != wanted[name]:
                raise EvaluationError(
                    f"{self._path}: found answers of another model ({name} {found.get(name)!r}), "
                    f"expected {wanted[name]!r}; choose another file"
                )
