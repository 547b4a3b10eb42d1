"""Preference pairs: one prompt, an answer that is preferred to another, as one text.

The text is two chats end to end, the special that ends a document between them: the prompt with the
chosen answer, then the prompt with the rejected one. Both show the same images, so each image has
two marks. What carries loss are the two last answers, each with the end of its turn and of its
document; what came before them is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vl_data.mix.chat import Chat, chat_of, special
from vl_data.mix.refusals import SampleRefused
from vl_data.mix.turns import TAG, Turn, turns_in

END = special("eod")
"""Stands between the halves; the document's own end comes after the second."""


def pair_of(prompt: Sequence[Turn], chosen: str, rejected: str, images: int) -> Chat:
    """The text of a pair about ``images`` images, of which each is shown twice.

    A prompt without any `TAG` shows its images before its first turn of the user.

    Raises
    ------
    SampleRefused
        ``equal-answers`` where the answers do not differ, ``missing-field`` where the prompt ends
        in an answer of its own, and as `chat_of`.
    """
    if not prompt or prompt[-1].role == "assistant":
        found = "an answer at the end of it" if prompt else "no turn"
        raise SampleRefused("missing-field", f"prompt: found {found}, expected a question")
    turns = _showing(prompt, images)
    halves = [chat_of([*turns, Turn("assistant", said)], images) for said in (chosen, rejected)]
    if halves[0].text == halves[1].text:
        raise SampleRefused(
            "equal-answers", f"found {chosen.strip()[:80]!r} as chosen and as rejected"
        )
    (first, last), (second, end) = (half.loss[-1] for half in halves)
    begin = len(halves[0].text.encode()) + len(END)
    return Chat(
        END.join(half.text for half in halves),
        ((first, last + len(END)), (begin + second, begin + end)),
    )


def is_pair(text: str, loss: Sequence[tuple[int, int]]) -> bool:
    """Whether a document is what `pair_of` makes: no other chat has an end inside."""
    return len(loss) == 2 and END in text


def _showing(prompt: Sequence[Turn], images: int) -> list[Turn]:
    """The prompt with its images before its first question, where it has no place for them."""
    turns = list(prompt)
    if images and not any(TAG in turn.text for turn in turns):
        asks = next((i for i, turn in enumerate(turns) if turn.role == "user"), 0)
        turns[asks] = Turn(turns[asks].role, f"{TAG}\n" * images + turns[asks].text)
    return turns


def prompt_of(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of ``prompt``: a question, or a list of turns in either form of `turns_of`.

    Raises
    ------
    SampleRefused
        ``missing-field``.
    """
    value = row.get("prompt")
    if isinstance(value, str) and value.strip():
        return [Turn("user", value)]
    if isinstance(value, str) or value is None:
        found = "nothing" if not value else "blanks"
        raise SampleRefused("missing-field", f"prompt: found {found}, expected a question or turns")
    return turns_in(value, "prompt")


def answer_of(row: Mapping[str, Any], field: str) -> str:
    """The answer in ``chosen`` or ``rejected``: text, or a list of one turn of the assistant.

    Raises
    ------
    SampleRefused
        ``missing-field``; ``empty-answer`` for one that says nothing.
    """
    value = row.get(field)
    if not isinstance(value, str):
        if value is None:
            raise SampleRefused("missing-field", f"{field}: found nothing, expected an answer")
        turns = turns_in(value, field)
        if [turn.role for turn in turns] != ["assistant"]:
            found = ", ".join(turn.role for turn in turns)
            raise SampleRefused(
                "missing-field", f"{field}: found turns of {found}, expected one of the assistant"
            )
        value = turns[0].text
    if not value.strip():
        raise SampleRefused("empty-answer", f"{field}: found no text, expected an answer")
    return value
