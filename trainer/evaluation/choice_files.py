"""Files of questions: read, each judged by itself, and named by its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.multiple_choice import MultipleChoice, Question, without_letters


def load_files(paths: Sequence[Path]) -> dict[str, list[Question]]:
    """The questions of each file by its name without suffix.

    Raises
    ------
    EvaluationError
        Naming the file and line that cannot be read, or two files of one name.
    """
    files: dict[str, list[Question]] = {}
    for path in paths:
        if path.stem in files:
            raise EvaluationError(
                f"--choices {path}: found two files named {path.stem}, expected one: results go "
                "by the name; rename one"
            )
        files[path.stem] = load_questions(path)
    return files


def load_questions(path: Path) -> list[Question]:
    """The questions of a JSONL file: ``{"query": …, "choices": [… …], "answer": 0}`` a line.

    ``"queries"``, a list as long as the choices, may stand in the place of ``"query"``. An empty
    query means that choices are whole texts. ``"kind"`` and ``"source"`` are texts; other keys are
    ignored.

    Raises
    ------
    EvaluationError
        Naming the line that is not one.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error})") from error
    questions = [
        _question(line, f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not questions:
        raise EvaluationError(f"{path}: found no question, expected one a line")
    return questions


def _question(line: bytes, where: str) -> Question:
    try:
        row = orjson.loads(line)
        query = row["query"] if "queries" not in row else ""
        choices, answer = row["choices"], row["answer"]
        queries = row.get("queries", ())
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise EvaluationError(
            f'{where}: {error!r}; expected {{"query": …, "choices": [… …], "answer": 0}}'
        ) from error
    if not isinstance(query, str) or (query and not query.strip()):
        raise EvaluationError(
            f'{where}: query: found {query!r}, expected a text, or "" before whole texts'
        )
    if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
        raise EvaluationError(f"{where}: choices: found {choices!r}, expected a list of texts")
    if len(choices) < 2:
        raise EvaluationError(f"{where}: choices: found {len(choices)}, expected 2 or more")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise EvaluationError(
            f"{where}: answer: found {answer!r}, expected a number from 0 to {len(choices) - 1}"
        )
    if "queries" in row and not (
        isinstance(queries, list)
        and len(queries) == len(choices)
        and all(isinstance(q, str) and q.strip() for q in queries)
    ):
        raise EvaluationError(
            f"{where}: queries: found {queries!r}, expected {len(choices)} texts, one a choice"
        )
    for name in ("kind", "source"):
        if not isinstance(row.get(name), str | None):
            raise EvaluationError(f"{where}: {name}: found {row[name]!r}, expected a text")
    groups = {"kind": row.get("kind"), "source": row.get("source")}
    return without_letters(Question(query, tuple(choices), answer, tuple(queries), **groups))


def as_json(judged: Mapping[str, MultipleChoice]) -> dict[str, Any]:
    """One file's result as it is; of several, results by the file's name."""
    found = {name: each.as_json() for name, each in judged.items()}
    if len(found) == 1:
        (only,) = found.values()
        return only
    return found
