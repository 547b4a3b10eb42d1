"""Questions put in several ways: prompt types drawn with equal probability, then a wording.

MiniMax-01 (§6.1) draws the prompt types of its instruction data with balanced probabilities. Here
a question of one kind can be put as an open question, an instruction, a choice among options, a
claim to check, or a sentence to complete. Yes and no are drawn before the claim is, and the right
option's letter is uniform, so that neither says anything without the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.sample import Asked, Turn

PROMPTS = ("question", "instruction", "choice", "check", "complete")
"""The prompt types."""

LETTERS = "ABCD"
_OPTIONS = 4

_CHECKS = (
    "Is this true? {claim}",
    "{claim} Is that right? Answer yes or no.",
    "Yes or no: {claim}",
    "Check this against the picture and answer yes or no. {claim}",
)
_CHOICES = (
    "{question}\n{options}\nAnswer with the letter.",
    "{question} Choose one and give its letter.\n{options}",
    "{options}\n{question} Which letter is right?",
)
_COMPLETIONS = (
    "Complete the sentence: {gapped}",
    "Fill in what is missing: {gapped}",
    "{gapped} What belongs in the gap?",
)
GAP = "___"


@dataclass(frozen=True)
class Question:
    """Wordings of a question of one kind; ``{name}`` stands for what an asking fills in.

    Attributes
    ----------
    kind : str
        What is asked for: ``count``, ``colour`` …
    questions, instructions : tuple of str
        Open wordings, as a question and as an order.
    claims : tuple of str
        Sentences with ``{answer}``, from which checks and completions are made; none: neither is.
    """

    kind: str
    questions: tuple[str, ...]
    instructions: tuple[str, ...]
    claims: tuple[str, ...] = ()


def ask(
    draws: Draws,
    question: Question,
    answer: str,
    wrong: Sequence[str] = (),
    **names: str,
) -> Turn:
    """Put a question in one of the ways it can be put.

    Parameters
    ----------
    answer : str
        The right one.
    wrong : sequence of str
        Answers that could be right and are not, without repetition. None: no choice and no
        check. The answer itself is left out of them.
    names : str
        What fills the wordings' gaps.

    Raises
    ------
    ValueError
        If the answer is empty.
    """
    if not answer:
        raise ValueError(f"question {question.kind!r}: found an empty answer, expected text")
    others = [text for text in dict.fromkeys(wrong) if text != answer]
    prompts = ["question", "instruction"]
    if others:
        prompts.append("choice")
    if others and question.claims:
        prompts.append("check")
    if question.claims:
        prompts.append("complete")
    prompt = draws.pick(prompts)
    if prompt == "choice":
        text, answer = _choice(draws, question, answer, others, names)
    elif prompt == "check":
        text, answer = _check(draws, question, answer, others, names)
    elif prompt == "complete":
        gapped = _fill(draws, question.claims, answer=GAP, **names)
        text = draws.pick(_COMPLETIONS).format(gapped=gapped)
    else:
        wordings = question.questions if prompt == "question" else question.instructions
        text = _fill(draws, wordings, **names)
    return Turn(text, answer, Asked(question.kind, prompt))


def ask_yes_no(draws: Draws, kind: str, wordings: Sequence[str], yes: bool, **names: str) -> Turn:
    """A question that yes or no answers; the caller has drawn which, evenly."""
    text = _fill(draws, wordings, **names)
    return Turn(text, "yes" if yes else "no", Asked(kind, "check"))


def numbers_near(draws: Draws, value: int, low: int, high: int, count: int = 3) -> list[str]:
    """Up to ``count`` whole numbers of ``low … high`` other than ``value``, the nearest likeliest.

    A window of numbers that holds ``value`` at any of its places with equal probability: the right
    option is no more often in the middle than at an end.
    """
    width = min(count + 1, high - low + 1)
    first = value - draws.below(width)
    first = max(low, min(first, high - width + 1))
    return [str(n) for n in range(first, first + width) if n != value]


def _fill(draws: Draws, wordings: Sequence[str], **names: str) -> str:
    return capital(draws.pick(wordings).format(**names))


def capital(text: str) -> str:
    """The text with its first character a capital."""
    return text[:1].upper() + text[1:]


def _choice(
    draws: Draws, question: Question, answer: str, others: Sequence[str], names: dict[str, str]
) -> tuple[str, str]:
    options = [answer, *draws.picks(others, min(_OPTIONS - 1, len(others)))]
    options = draws.shuffled(options)
    listed = "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(options))
    text = draws.pick(_CHOICES).format(
        question=_fill(draws, question.questions, **names), options=listed
    )
    return text, LETTERS[options.index(answer)]


def _check(
    draws: Draws, question: Question, answer: str, others: Sequence[str], names: dict[str, str]
) -> tuple[str, str]:
    right = draws.coin()
    said = answer if right else draws.pick(others)
    claim = _fill(draws, question.claims, answer=said, **names)
    return draws.pick(_CHECKS).format(claim=claim), "yes" if right else "no"
