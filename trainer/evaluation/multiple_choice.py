"""Multiple choice by the likelihood of each choice after its query.

The metrics of a question, with p(c) the probability of choice c after the query, summed over the
choice's tokens in log space:

``acc``        the most probable choice is the right one;
``acc_norm``   the choice of largest ln p(c) / bytes(c) is;
``log_acc_norm2``  MiniMax-01's log acc_norm² (arXiv:2501.08313, section 4.1.3): log softmax, over
               the choices, of ln p(c) / bytes(c), at the right choice. The paper prints
               p'(c) = p(c) / bytes(c) and calls p a probability; read literally, the softmax
               would be of numbers that all but vanish, so p is read as a log-probability here.

Bytes are the UTF-8 bytes of the choice alone, without the blank that parts it from the query.
Letters that name choices ("A.", "(b)") are discarded from choices and from a query that lists
them, as in the paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from dataflow.tokenizer import Tokenizer
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.likelihood import BATCH_TOKENS, Progress, batches, follow, silent
from trainer.evaluation.statistics import Estimate, mean
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder

SHARED_FROM = 512
"""A query of so many tokens is read once for all its choices, which are then read a token a step.
Below, a packed pass over whole texts is less work than the steps."""

_LETTERED = re.compile(r"\s*(?:\(([A-Za-z])\)|([A-Za-z])[.):])\s+")


@dataclass(frozen=True)
class Question:
    """A query, its choices without letters, and which of them is right."""

    query: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Judged:
    """A question's metrics, and ``log_probabilities`` of its choices, in nats."""

    log_probabilities: tuple[float, ...]
    acc: bool
    acc_norm: bool
    log_acc_norm2: float


@dataclass(frozen=True)
class MultipleChoice:
    """Means over questions, each with its error; ``chance`` is the accuracy of guessing."""

    questions: tuple[Judged, ...]
    acc: Estimate
    acc_norm: Estimate
    log_acc_norm2: Estimate
    chance: float

    def as_json(self) -> dict[str, Any]:
        """The fields; ``samples`` are the questions' log_acc_norm2, for tests between models."""
        return {
            "questions": len(self.questions),
            "chance": self.chance,
            **{
                name: getattr(self, name).as_json() for name in ("acc", "acc_norm", "log_acc_norm2")
            },
            "samples": [question.log_acc_norm2 for question in self.questions],
        }


def load_questions(path: Path) -> list[Question]:
    """The questions of a JSONL file: ``{"query": …, "choices": [… …], "answer": 0}`` a line.

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
        query, choices, answer = row["query"], row["choices"], row["answer"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise EvaluationError(
            f'{where}: {error!r}; expected {{"query": …, "choices": [… …], "answer": 0}}'
        ) from error
    if not isinstance(query, str) or not query.strip():
        raise EvaluationError(f"{where}: query: found {query!r}, expected a text")
    if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
        raise EvaluationError(f"{where}: choices: found {choices!r}, expected a list of texts")
    if len(choices) < 2:
        raise EvaluationError(f"{where}: choices: found {len(choices)}, expected 2 or more")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise EvaluationError(
            f"{where}: answer: found {answer!r}, expected a number from 0 to {len(choices) - 1}"
        )
    return without_letters(Question(query, tuple(choices), answer))


def without_letters(question: Question) -> Question:
    """Discard the letters of choices where they are A, B, C … in turn, there or in the query.

    A line of the query loses its letter only within a list of as many lettered lines as there are
    choices: a sentence that begins with "A." is left alone.
    """
    choices, query = question.choices, question.query
    labels = [_LETTERED.match(c) for c in choices]
    if _in_turn(labels):
        choices = tuple(c[m.end() :] for c, m in zip(choices, labels, strict=True) if m is not None)
    lines = query.split("\n")
    for start in range(len(lines) - len(choices) + 1):
        listed = [_LETTERED.match(line) for line in lines[start : start + len(choices)]]
        if _in_turn(listed):
            for i, match in enumerate(listed, start):
                assert match is not None, "all lines of the list are lettered"
                lines[i] = lines[i][match.end() :]
            break
    return Question("\n".join(lines), choices, question.answer)


def _in_turn(labels: Sequence[re.Match[str] | None]) -> bool:
    found = [(m[1] or m[2]).upper() if m is not None else "" for m in labels]
    return found == [chr(ord("A") + i) for i in range(len(labels))]


def judge(question: Question, log_probabilities: Sequence[float]) -> Judged:
    """The metrics of a question; of equal choices the first is taken."""
    norm = [
        score / len(choice.strip().encode())
        for score, choice in zip(log_probabilities, question.choices, strict=True)
    ]
    top = max(norm)
    denominator = top + math.log(sum(math.exp(x - top) for x in norm))
    best, best_norm = (max(range(len(norm)), key=s.__getitem__) for s in (log_probabilities, norm))
    return Judged(
        tuple(log_probabilities),
        best == question.answer,
        best_norm == question.answer,
        norm[question.answer] - denominator,
    )


def multiple_choice(
    decoder: Decoder,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    batch_tokens: int = BATCH_TOKENS,
    shared_from: int = SHARED_FROM,
    progress: Progress = silent,
) -> MultipleChoice:
    """Judge questions. A choice follows its query after one blank, and is tokenized by itself.

    Args:
        batch_tokens: read at once.
        shared_from: queries of so many tokens are read once for all their choices.
        progress: told of questions.

    Raises:
        ValueError: no questions.
    """
    queries = [as_tokens(tokenizer, q.query.rstrip()) for q in questions]
    choices = [[as_tokens(tokenizer, " " + c.strip()) for c in q.choices] for q in questions]
    scores: list[list[float]] = [[0.0] * len(q.choices) for q in questions]
    shared = [i for i, query in enumerate(queries) if len(query) >= shared_from]
    whole = [i for i, query in enumerate(queries) if len(query) < shared_from]
    rows = [(i, n) for i in whole for n in range(len(choices[i]))]
    texts = [torch.cat([queries[i], choices[i][n]]) for i, n in rows]
    done = 0
    for batch in batches([len(text) for text in texts], batch_tokens):
        for row, found in zip(batch, decoder.score([texts[j] for j in batch]), strict=True):
            i, n = rows[row]
            scores[i][n] = float(found[len(queries[i]) - 1 :].double().sum())
        done += len(batch)
        progress(len(whole) * done // len(rows), len(questions))
    if shared:
        found_all = follow(
            decoder,
            [queries[i] for i in shared],
            [choices[i] for i in shared],
            most=batch_tokens,
            progress=lambda n, _: progress(len(whole) + n, len(questions)),
        )
        for i, each in zip(shared, found_all, strict=True):
            scores[i] = [continuation.total for continuation in each]
    judged = tuple(judge(q, s) for q, s in zip(questions, scores, strict=True))
    return MultipleChoice(
        judged,
        mean([j.acc for j in judged]),
        mean([j.acc_norm for j in judged]),
        mean([j.log_acc_norm2 for j in judged]),
        sum(1 / len(q.choices) for q in questions) / len(questions),
    )
