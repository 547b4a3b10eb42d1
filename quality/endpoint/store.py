"""Every raw answer, kept: a file to which lines are added and nothing else is done.

One JSON object a line: ``key`` of the question, ``number`` of the answer to it, ``body`` of the
response as it came (``body_base64`` where it is not UTF-8), ``prompt`` and ``answer`` tokens as
billed, ``estimated`` where the server did not say. No time of day, no address. The lines stand in
the order of arrival; whoever reads answers asks by key, so that this order reaches nothing.
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from quality.endpoint.failures import EndpointError


@dataclass(frozen=True, slots=True)
class Kept:
    """A raw answer. ``prompt`` and ``answer`` count tokens."""

    key: str
    number: int
    body: bytes
    prompt: int
    answer: int
    estimated: bool = False


class AnswerStore:
    """The answers in ``FOLDER/answers.jsonl``; a context manager. One process at a time."""

    def __init__(self, folder: Path) -> None:
        """Open or begin a store.

        Raises
        ------
        EndpointError
            If another process has it open, or a line of it is broken. An unfinished last line (of a
            killed run) is no error: it is cut off.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "answers.jsonl"
        self.prompt = self.answer = 0
        """Tokens of all that is kept."""
        self._places: dict[str, list[int]] = {}
        self._file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = self._read_index()
        except BlockingIOError:
            self._file.close()
            raise EndpointError(
                f"{self.path}: another run writes here; wait for its end or choose another folder"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def close(self) -> None:
        """Write everything to the disk and let others in."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def add(self, kept: Kept) -> None:
        """Keep an answer: written when this returns."""
        line = orjson.dumps(_row(kept)) + b"\n"
        view = memoryview(line)
        while view:
            view = view[self._file.write(view) :]
        self._enter(kept.key, self._end, kept.prompt, kept.answer)
        self._end += len(line)

    def of(self, key: str) -> Iterator[Kept]:
        """The answers to a question in the order in which they came."""
        for place in self._places.get(key, ()):
            self._file.seek(place)
            yield _kept(orjson.loads(_read_line(self._file)))

    def _enter(self, key: str, place: int, prompt: int, answer: int) -> None:
        self._places.setdefault(key, []).append(place)
        self.prompt += prompt
        self.answer += answer

    def _read_index(self) -> int:
        place = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file.fileno(), place)
                    break
                try:
                    kept = _kept(orjson.loads(line))
                except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                    raise EndpointError(
                        f"{self.path}:{number}: found {line[:40]!r}…, expected a kept answer;"
                        " delete the line or choose another folder"
                    ) from error
                self._enter(kept.key, place, kept.prompt, kept.answer)
                place += len(line)
        return place


def _row(kept: Kept) -> dict[str, Any]:
    row: dict[str, Any] = {"key": kept.key, "number": kept.number}
    row |= {"prompt": kept.prompt, "answer": kept.answer, "estimated": kept.estimated}
    try:
        row["body"] = kept.body.decode()
    except UnicodeDecodeError:
        row["body_base64"] = base64.b64encode(kept.body).decode()
    return row


def _kept(row: dict[str, Any]) -> Kept:
    body = row["body"].encode() if "body" in row else base64.b64decode(row["body_base64"])
    return Kept(
        str(row["key"]),
        int(row["number"]),
        body,
        int(row["prompt"]),
        int(row["answer"]),
        bool(row["estimated"]),
    )


def _read_line(file: Any) -> bytes:
    pieces = []
    while piece := file.read(1 << 16):
        cut = piece.find(b"\n")
        if cut >= 0:
            pieces.append(piece[:cut])
            break
        pieces.append(piece)
    return b"".join(pieces)
