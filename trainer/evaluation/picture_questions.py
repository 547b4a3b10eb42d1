"""Questions about synthesised pictures: which are asked, and whose picture stands in for another's.

A folder as ``python -m vl_data synthesise --split heldout`` writes it. Each turn is a question by
itself, asked with its picture and nothing before it. Questions of one family, kind and form are a
*group*; forms are ``open`` (a question, an instruction, a gap), ``choice`` (answered by a letter)
and ``check`` (by yes or no).

Where the answers of a group are few they are its *candidates*: yes and no, the letters listed, or
the answers that open questions of the kind have in the folder. A group with candidates is balanced:
each answer is taken equally often, so that guessing, and saying the most frequent answer, are right
once in as many times as there are candidates. An answer that comes less than a quarter as often as
the most frequent one is left out first, with its questions: it would leave few of the others.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import blake3
import orjson

from trainer.evaluation.errors import EvaluationError
from vl_data.mix.turns import TAG

SAMPLES = "samples.jsonl"
MOST_CANDIDATES = 12
"""Different answers of a kind whose questions are decided by likelihood."""
LEAST_EACH = 3
"""Questions an answer, on average, of such a kind: fewer are a sample of many answers."""
RARE = 4
"""An answer that comes fewer times than the most frequent one's share of this is left out."""

_LETTERED = re.compile(r"^([A-Z])\. ", re.MULTILINE)
_FORMS = {"check": "check", "choice": "choice"}


class Group(NamedTuple):
    """What questions have in common."""

    family: str
    kind: str
    form: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True)
class PictureQuestion:
    """A question.

    Attributes:
        id: of the sample, and the number of the turn.
        image: the file.
        width, height: of the picture, in pixels.
        group: see above.
        text: of the question, without a mark.
        answer: the right one.
        candidates: all that are compared, the right one among them; none where it is written.
    """

    id: str
    image: Path
    width: int
    height: int
    group: Group
    text: str
    answer: str
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """Questions to ask, and what was left out of how many.

    Attributes:
        questions: by group, in an order that hashes decide.
        donors: of each, the number of the question whose picture stands in for its own.
        asked_of: questions in the folder.
        splits: samples by the split whose layouts they have.
    """

    questions: tuple[PictureQuestion, ...]
    donors: tuple[int, ...]
    asked_of: int
    splits: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """How many there are, as JSON has it."""
        return {
            "questions": len(self.questions),
            "asked_of": self.asked_of,
            "splits": self.splits,
        }


def load_picture_questions(path: Path) -> tuple[list[PictureQuestion], dict[str, int]]:
    """All questions of a folder, in its order, and how many samples each split has.

    Raises:
        EvaluationError: naming the line that is no sample.
    """
    file = path / SAMPLES if path.is_dir() or not path.suffix else path
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise EvaluationError(
            f"--questions: {file} cannot be read ({error.strerror}); expected a folder that "
            "`python -m vl_data synthesise --split heldout --out FOLDER` made"
        ) from error
    found: list[PictureQuestion] = []
    splits: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        split, questions = _questions(line, file.parent, f"{file}: line {number}")
        splits[split] += 1
        found += questions
    if not found:
        raise EvaluationError(f"{file}: found no question, expected a sample a line")
    return _with_candidates(found), dict(sorted(splits.items()))


def choose_questions(path: Path, *, limit: int | None = None, seed: int = 0) -> Chosen:
    """Questions of a folder that are balanced, at most ``limit``, the same ones for the same seed.

    Groups have the shares that they have in the folder. A group of fewer than two pictures is left
    out: nothing could stand in for the only one.

    Args:
        limit: at most so many questions, though at least one of each answer of a group.

    Raises:
        EvaluationError: as :func:`load_picture_questions`, or where no group is left.
    """
    found, splits = load_picture_questions(path)
    groups: defaultdict[Group, list[PictureQuestion]] = defaultdict(list)
    for question in sorted(found, key=lambda q: _draw(seed, "ask", q.id)):
        groups[question.group].append(question)
    balanced = {group: _balanced(mine) for group, mine in sorted(groups.items())}
    total = sum(len(mine) for mine in balanced.values())
    share = 1.0 if limit is None else min(1.0, limit / total)
    questions: list[PictureQuestion] = []
    donors: list[int] = []
    for mine in balanced.values():
        answers = len({question.answer for question in mine}) if mine[0].candidates else 1
        kept = mine[: max(1, int(len(mine) * share / answers)) * answers]
        given = _donors(kept, seed)
        if given is not None:
            donors += [len(questions) + number for number in given]
            questions += kept
    if not questions:
        raise EvaluationError(
            f"{path}: found {len(found)} questions of which no two of a kind have different "
            "pictures, expected more; synthesise more samples"
        )
    return Chosen(tuple(questions), tuple(donors), len(found), splits)


def _questions(line: bytes, folder: Path, where: str) -> tuple[str, list[PictureQuestion]]:
    try:
        row = orjson.loads(line)
        family, split, image = row["family"], row["split"], row["image"]
        width, height = int(row["width"]), int(row["height"])
        turns = [turn["value"] for turn in row["conversations"]]
        asked = [(prompt["kind"], prompt["prompt"]) for prompt in row["prompts"]]
        pairs = list(zip(turns[::2], turns[1::2], asked, strict=True))
        return split, [
            PictureQuestion(
                f"{row['id']}/{number}", folder / image, width, height,
                Group(family, kind, _FORMS.get(prompt, "open")),
                question.replace(TAG, "").strip(), answer.strip(),
            )
            for number, (question, answer, (kind, prompt)) in enumerate(pairs)
        ]  # fmt: skip
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvaluationError(
            f"{where}: {error!r}; expected a sample of `python -m vl_data synthesise`"
        ) from error


def _with_candidates(questions: Iterable[PictureQuestion]) -> list[PictureQuestion]:
    known = list(questions)
    answers: defaultdict[Group, Counter[str]] = defaultdict(Counter)
    for question in known:
        answers[question.group][question.answer] += 1
    found = []
    for question in known:
        mine = answers[question.group]
        if question.group.form == "check":
            candidates: Sequence[str] = ("yes", "no")
        elif question.group.form == "choice":
            candidates = _LETTERED.findall(question.text)
        elif 1 < len(mine) <= MOST_CANDIDATES and mine.total() >= LEAST_EACH * len(mine):
            candidates = sorted(mine)
        else:
            candidates = ()
        if question.answer not in candidates:
            candidates = ()
        found.append(replace(question, candidates=tuple(candidates)))
    return found


def _balanced(questions: Sequence[PictureQuestion]) -> list[PictureQuestion]:
    """Each answer equally often, one after another, and candidates that are left."""
    if not questions[0].candidates:
        return list(questions)
    by_answer: defaultdict[str, list[PictureQuestion]] = defaultdict(list)
    for question in questions:
        by_answer[question.answer].append(question)
    most = max(map(len, by_answer.values()))
    left = {answer: mine for answer, mine in sorted(by_answer.items()) if len(mine) * RARE >= most}
    each = min(map(len, left.values()))
    found = [left[answer][number] for number in range(each) for answer in left]
    if found[0].group.form == "open":
        found = [replace(question, candidates=tuple(left)) for question in found]
    return found


def _donors(questions: Sequence[PictureQuestion], seed: int) -> list[int] | None:
    """The number of the question whose picture each is shown instead: of the same group, each
    picture as often as before, none its own.

    What the other's answer is does not matter: it is the right one as often as chance has it. Were
    it always another, a model that sees would be wrong more often than one that guesses.
    """
    order = sorted(range(len(questions)), key=lambda i: _draw(seed, "donor", questions[i].id))
    for shift in range(1, len(order)):
        turned = order[shift:] + order[:shift]
        pairs = list(zip(order, turned, strict=True))
        if all(questions[a].image != questions[b].image for a, b in pairs):
            found = [0] * len(order)
            for own, other in pairs:
                found[own] = other
            return found
    return None


def _draw(seed: int, purpose: str, name: str) -> bytes:
    return blake3.blake3(f"{seed}/{purpose}/{name}".encode()).digest(8)
