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

Each choice may have a query of its own (``queries``): of a sentence with a gap, what comes before
the rest with each filler. Where the query is empty, the choice is a whole text, and is scored from
its second token on: in training nothing comes before a document and its first token is never
predicted, so a model has learnt no probability of it, and an end of document before it would be
an input that it has not seen. Bytes are still those of the whole choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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

METRICS = ("acc", "acc_norm", "log_acc_norm2")

_LETTERED = re.compile(r"\s*(?:\(([A-Za-z])\)|([A-Za-z])[.):])\s+")


@dataclass(frozen=True)
class Question:
    """A query, its choices without letters, and which of them is right.

    ``queries``: one for each choice, in the place of ``query``, where they differ. ``kind`` and
    ``source`` are groups that are also reported by themselves.
    """

    query: str
    choices: tuple[str, ...]
    answer: int
    queries: tuple[str, ...] = ()
    kind: str | None = None
    source: str | None = None

    def before(self, choice: int) -> str:
        """What comes before a choice."""
        return self.queries[choice] if self.queries else self.query


@dataclass(frozen=True)
class Judged:
    """A question's metrics, and ``log_probabilities`` of its choices, in nats."""

    log_probabilities: tuple[float, ...]
    acc: bool
    acc_norm: bool
    log_acc_norm2: float


@dataclass(frozen=True)
class MultipleChoice:
    """Means over questions, each with its error; ``chance`` is the accuracy of guessing.

    ``groups``: the same of the questions of each kind and of each source, by ``"kind"`` and
    ``"source"``, where questions say theirs.
    """

    questions: tuple[Judged, ...]
    acc: Estimate
    acc_norm: Estimate
    log_acc_norm2: Estimate
    chance: float
    groups: dict[str, dict[str, MultipleChoice]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The fields; ``samples`` are the questions' log_acc_norm2, for tests between models, and
        ``samples_acc`` and ``samples_acc_norm`` say of each whether it was answered rightly."""
        return {
            **self._means(),
            "samples": [question.log_acc_norm2 for question in self.questions],
            "samples_acc": [question.acc for question in self.questions],
            "samples_acc_norm": [question.acc_norm for question in self.questions],
            "groups": {
                column: {name: group._means() for name, group in groups.items()}
                for column, groups in self.groups.items()
            },
        }

    def _means(self) -> dict[str, Any]:
        means = {name: getattr(self, name).as_json() for name in METRICS}
        return {"questions": len(self.questions), "chance": self.chance, **means}


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
    return replace(question, query="\n".join(lines), choices=choices)


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
        EvaluationError: a choice that is a whole text of one token, which has no probability.
    """
    queries = [as_tokens(tokenizer, q.query.rstrip()) for q in questions]
    own = {
        (i, n): as_tokens(tokenizer, text.rstrip())
        for i, q in enumerate(questions)
        for n, text in enumerate(q.queries)
    }
    choices = [
        [
            as_tokens(tokenizer, (" " if q.before(n) else "") + c.strip())
            for n, c in enumerate(q.choices)
        ]
        for q in questions
    ]
    for question, mine in zip(questions, choices, strict=True):
        for n, ids in enumerate(mine):
            if len(ids) < 2 and not question.before(n):
                raise EvaluationError(
                    f"choices: found {question.choices[n]!r} after an empty query, one token, "
                    "expected two or more: a text's first token is never predicted"
                )
    scores: list[list[float]] = [[0.0] * len(q.choices) for q in questions]
    shared = [i for i, query in enumerate(queries) if len(query) >= shared_from]
    whole = [i for i, query in enumerate(queries) if len(query) < shared_from]
    rows = [(i, n) for i in whole for n in range(len(choices[i]))]
    firsts = [own.get(row, queries[row[0]]) for row in rows]
    texts = [torch.cat([first, choices[i][n]]) for first, (i, n) in zip(firsts, rows, strict=True)]
    done = 0
    for batch in batches([len(text) for text in texts], batch_tokens):
        for row, found in zip(batch, decoder.score([texts[j] for j in batch]), strict=True):
            i, n = rows[row]
            scores[i][n] = float(found[max(0, len(firsts[row]) - 1) :].double().sum())
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
    judged = [judge(q, s) for q, s in zip(questions, scores, strict=True)]
    pairs = list(zip(questions, judged, strict=True))
    groups = {column: _by(pairs, of) for column, of in _GROUPS.items()}
    groups = {column: found for column, found in groups.items() if found}
    return replace(_means(pairs), groups=groups)


_GROUPS: dict[str, Callable[[Question], str | None]] = {
    "kind": lambda question: question.kind,
    "source": lambda question: question.source,
}


def _by(
    pairs: Sequence[tuple[Question, Judged]], of: Callable[[Question], str | None]
) -> dict[str, MultipleChoice]:
    names = sorted({name for name in (of(q) for q, _ in pairs) if name is not None})
    return {name: _means([pair for pair in pairs if of(pair[0]) == name]) for name in names}


def _means(pairs: Sequence[tuple[Question, Judged]]) -> MultipleChoice:
    judged = tuple(j for _, j in pairs)
    return MultipleChoice(
        judged,
        mean([j.acc for j in judged]),
        mean([j.acc_norm for j in judged]),
        mean([j.log_acc_norm2 for j in judged]),
        sum(1 / len(q.choices) for q, _ in pairs) / len(pairs),
    )
