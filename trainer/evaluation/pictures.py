"""What a model sees in pictures: held-out questions, beside the same ones without their picture.

Each question is put in several *conditions*:

    image      with its own picture
    shuffled   with the picture of another question of its kind
    text-only  without any

What a model gets right in the last two it has from the question, and from how answers are
distributed. So the figure that says that it sees is the difference, question by question; the
interval is over pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from dataflow.tokenizer import Tokenizer
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.likelihood import BATCH_TOKENS, Progress, silent
from trainer.evaluation.paired import Difference, paired_difference
from trainer.evaluation.picture_answers import Answer, Query, answer_queries
from trainer.evaluation.picture_questions import Chosen, PictureQuestion
from trainer.evaluation.statistics import Estimate, mean
from trainer.generation.decoder import Decoder

Baseline = Literal["shuffled", "text-only"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
IMAGE = "image"
DEVICE_TOKENS = 1 << 17
"""Read at once on a GPU."""


@dataclass(frozen=True)
class Score:
    """Means over questions; ``similarity`` of those whose answers are written, None without any."""

    accuracy: Estimate
    similarity: Estimate | None
    log_prob_per_byte: Estimate

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return _measures(self)


@dataclass(frozen=True)
class Gain:
    """What the picture gives above a baseline, in each measure."""

    accuracy: Difference
    similarity: Difference | None
    log_prob_per_byte: Difference

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return _measures(self)


def _measures(found: Score | Gain) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy.as_json(),
        "similarity": None if found.similarity is None else found.similarity.as_json(),
        "log_prob_per_byte": found.log_prob_per_byte.as_json(),
    }


@dataclass(frozen=True)
class Part:
    """Some questions: of a group, of a family, or all.

    Attributes:
        name: ``family/kind/form``, a family, or ``all``.
        questions, pictures: how many.
        candidates: what an answer is chosen from, on average; None where it is written.
        chance: accuracy of guessing among candidates; written answers count 0.
        scores: by condition.
        gains: by baseline.
    """

    name: str
    questions: int
    pictures: int
    candidates: float | None
    chance: float
    scores: dict[str, Score]
    gains: dict[str, Gain]

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return {
            "name": self.name,
            "questions": self.questions,
            "pictures": self.pictures,
            "candidates": self.candidates,
            "chance": self.chance,
            "scores": {name: score.as_json() for name, score in self.scores.items()},
            "gains": {name: gain.as_json() for name, gain in self.gains.items()},
        }


@dataclass(frozen=True)
class Pictures:
    """What was found: over all, by family, by group; ``answers`` by condition, of each question."""

    chosen: Chosen
    all: Part
    families: tuple[Part, ...]
    groups: tuple[Part, ...]
    answers: dict[str, tuple[Answer, ...]]

    def as_json(self) -> dict[str, Any]:
        """The fields; ``samples`` are the questions', for tests between models."""
        names = [question.id for question in self.chosen.questions]
        return {
            **self.chosen.as_json(),
            "all": self.all.as_json(),
            "families": [part.as_json() for part in self.families],
            "groups": [part.as_json() for part in self.groups],
            "samples": {
                "id": names,
                "answer": [question.answer for question in self.chosen.questions],
                **{
                    condition: {
                        "said": [answer.said for answer in answers],
                        "right": [answer.right for answer in answers],
                        "similarity": [answer.similarity for answer in answers],
                        "log_prob_per_byte": [answer.log_prob_per_byte for answer in answers],
                    }
                    for condition, answers in self.answers.items()
                },
            },
        }


def evaluate_pictures(
    decoder: Decoder,
    tokenizer: Tokenizer,
    chosen: Chosen,
    *,
    baselines: Sequence[str] = BASELINES,
    batch_tokens: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Pictures:
    """Put questions in each condition.

    Args:
        chosen: by ``choose_questions``.
        baselines: which are put beside the pictures.
        batch_tokens: read at once; a default of the device where it is None.
        seed: of the intervals' draws.
        progress: told of questions, each counted once a condition.

    Raises:
        EvaluationError: a baseline that is none; otherwise as ``answer_queries``.
    """
    check_baselines(baselines)
    conditions = [IMAGE, *(name for name in BASELINES if name in baselines)]
    queries = [_query(chosen, i, c) for c in conditions for i in range(len(chosen.questions))]
    if batch_tokens is None:
        batch_tokens = DEVICE_TOKENS if decoder.device.type == "cuda" else BATCH_TOKENS
    found = answer_queries(
        decoder, tokenizer, queries, batch_tokens=batch_tokens, progress=progress
    )
    count = len(chosen.questions)
    answers = {c: tuple(found[n * count : (n + 1) * count]) for n, c in enumerate(conditions)}
    questions = chosen.questions

    def part(name: str, rows: Sequence[int]) -> Part:
        return _part(name, [questions[i] for i in rows], _rows(answers, rows), seed)

    families = list(dict.fromkeys(q.group.family for q in questions))
    groups = list(dict.fromkeys(q.group for q in questions))
    return Pictures(
        chosen,
        part("all", range(count)),
        tuple(
            part(f, [i for i, q in enumerate(questions) if q.group.family == f]) for f in families
        ),
        tuple(part(str(g), [i for i, q in enumerate(questions) if q.group == g]) for g in groups),
        answers,
    )


def between(first: Pictures, second: Pictures, *, seed: int = 0) -> dict[str, Gain]:
    """What one model scores above another with the same pictures: by the names of groups, of
    families, and ``all``.

    Raises:
        ValueError: they were not asked the same questions.
    """
    questions = first.chosen.questions
    if questions != second.chosen.questions:
        raise ValueError("found answers to other questions, expected both models' to the same ones")
    rows: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        for name in (str(question.group), question.group.family, "all"):
            rows.setdefault(name, []).append(i)
    own, other = first.answers[IMAGE], second.answers[IMAGE]
    return {
        name: _gain(
            [questions[i] for i in mine], [own[i] for i in mine], [other[i] for i in mine],
            f"{seed}/{name}/between",
        )
        for name, mine in rows.items()
    }  # fmt: skip


def check_baselines(baselines: Sequence[str]) -> None:
    """Raises EvaluationError for a name that is no baseline."""
    unknown = sorted(set(baselines) - set(BASELINES))
    if unknown:
        raise EvaluationError(
            f"--baselines: found {', '.join(unknown)}, expected some of {', '.join(BASELINES)}"
        )


def _query(chosen: Chosen, number: int, condition: str) -> Query:
    question = chosen.questions[number]
    shown: PictureQuestion | None = question
    if condition == "shuffled":
        shown = chosen.questions[chosen.donors[number]]
    elif condition == "text-only":
        shown = None
    return Query(
        question.text, question.answer, question.candidates,
        None if shown is None else shown.image,
        (0, 0) if shown is None else (shown.width, shown.height),
        f"question {question.id}",
    )  # fmt: skip


def _rows(answers: dict[str, tuple[Answer, ...]], rows: Sequence[int]) -> dict[str, list[Answer]]:
    return {condition: [each[i] for i in rows] for condition, each in answers.items()}


def _part(
    name: str,
    questions: Sequence[PictureQuestion],
    answers: dict[str, list[Answer]],
    seed: int,
) -> Part:
    closed = [len(q.candidates) for q in questions if q.candidates]
    written = [i for i, q in enumerate(questions) if not q.candidates]
    own = answers[IMAGE]
    gains = {
        baseline: _gain(questions, own, other, f"{seed}/{name}/{baseline}")
        for baseline, other in answers.items()
        if baseline != IMAGE
    }
    return Part(
        name,
        len(questions),
        len({q.image for q in questions}),
        float(np.mean(closed)) if closed and not written else None,
        sum(1 / k for k in closed) / len(questions),
        {condition: _score(each, written) for condition, each in answers.items()},
        gains,
    )


def _gain(
    questions: Sequence[PictureQuestion],
    own: Sequence[Answer],
    other: Sequence[Answer],
    seed: str,
) -> Gain:
    """What ``own`` answers score above ``other`` ones to the same questions."""

    def difference(field: str, rows: Sequence[int]) -> Difference:
        return paired_difference(
            [float(getattr(own[i], field)) - float(getattr(other[i], field)) for i in rows],
            [str(questions[i].image) for i in rows],
            seed=f"{seed}/{field}",
        )

    everything = range(len(questions))
    written = [i for i in everything if not questions[i].candidates]
    return Gain(
        difference("right", everything),
        difference("similarity", written) if written else None,
        difference("log_prob_per_byte", everything),
    )


def _score(answers: Sequence[Answer], written: Sequence[int]) -> Score:
    return Score(
        mean([answer.right for answer in answers]),
        mean([answers[i].similarity or 0.0 for i in written]) if written else None,
        mean([answer.log_prob_per_byte for answer in answers]),
    )
