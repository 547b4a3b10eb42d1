"""The chat template: turns to one text, and the bytes of it that carry loss.

A turn is its role's special, the text, and the special that ends it, spelled as the tokenizers
spell them (``<|user|>``, ``<|turn_end|>``); one U+FFFC stands for an image. What is learnt are the
assistant's answers, each with the end of its turn, so that the model learns to stop.

A special that a turn's own text spells is broken up: in a chat, what reads as a special is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from vl_data.images import FOREIGN_MARK, MARK
from vl_data.mix.refusals import SampleRefused
from vl_data.mix.turns import TAG, Turn

SPECIALS = (
    "pad",
    "eod",
    "image",
    "image_newline",
    "image_start",
    "image_end",
    "system",
    "user",
    "assistant",
    "tool",
    "turn_end",
    "tool_call",
    "tool_call_end",
    "tool_result",
    "tool_result_end",
    "fim_prefix",
    "fim_middle",
    "fim_suffix",
)
"""The tokenizer's roles: the room that keeps them is above this one, a test holds the two equal."""

_SPELLED = re.compile(r"<\|(" + "|".join(SPECIALS) + r"|spare_[0-9]+)\|>")
_IN_CHATS = frozenset(("system", "user", "assistant", "tool", "turn_end", "eod"))
"""``eod`` stands between the halves of a pair (`vl_data.mix.preferences`)."""


def special(role: str) -> str:
    """How a special is spelled."""
    return f"<|{role}|>"


class Chat(NamedTuple):
    """A conversation as a document has it.

    Attributes
    ----------
    text : str
        One U+FFFC an image.
    loss : tuple of (start, end)
        Byte offsets into the text's UTF-8, ascending, apart.
    """

    text: str
    loss: tuple[tuple[int, int], ...]


class Special(NamedTuple):
    """A special of the template: its role, and its bytes in the text."""

    role: str
    start: int
    end: int


def chat_of(turns: Sequence[Turn], images: int) -> Chat:
    """The text of a conversation about ``images`` images, blanks around each turn left out.

    Raises
    ------
    SampleRefused
        ``marks-differ`` where there are more or fewer `TAG` than images; ``empty-answer`` where the
        assistant says nothing, in one turn or at all.
    """
    _check_marks(turns, images)
    parts: list[str] = []
    loss: list[tuple[int, int]] = []
    size = 0
    for number, turn in enumerate(turns):
        said = _said(turn, images)
        if turn.role == "assistant" and not said:
            raise SampleRefused("empty-answer", f"turn {number}: found no text, expected an answer")
        head, body = special(turn.role), said + special("turn_end")
        start = size + len(head.encode())
        size = start + len(body.encode())
        if turn.role == "assistant":
            loss.append((start, size))
        parts += [head, body]
    if not loss:
        raise SampleRefused("empty-answer", f"found no answer in {len(turns)} turns, expected one")
    return Chat("".join(parts), tuple(loss))


def asked_of(turns: Sequence[Turn], images: int) -> str:
    """The text of a conversation about ``images`` images in which the assistant is to speak next.

    What `chat_of` makes of the same turns and an answer begins with it.

    Raises
    ------
    SampleRefused
        ``marks-differ``, as `chat_of`.
    """
    _check_marks(turns, images)
    said = (f"{special(t.role)}{_said(t, images)}{special('turn_end')}" for t in turns)
    return "".join(said) + special("assistant")


def _check_marks(turns: Sequence[Turn], images: int) -> None:
    tags = sum(turn.text.count(TAG) for turn in turns)
    if tags != images:
        raise SampleRefused(
            "marks-differ", f"found {tags} marks in the text, expected {images}, one an image"
        )


def _said(turn: Turn, images: int) -> str:
    return plain(turn.text.strip(), pictured=images > 0).replace(TAG, MARK)


def plain(text: str, pictured: bool) -> str:
    """A text of the source's without what would be taken for a special or an image's mark.

    The bar of a spelled special becomes U+FFFD, and so does a U+FFFC where there are images.
    """
    if pictured:
        text = text.replace(MARK, FOREIGN_MARK)
    return _SPELLED.sub(lambda found: f"<{FOREIGN_MARK}{found[1]}|>", text)


def specials_in(text: str) -> list[Special]:
    """The specials of a chat's text, in order, so that a tokenizer puts ids there.

    Only for a text that `chat_of` made: in any other a spelled special is text.
    """
    found, size, done = [], 0, 0
    for match in _SPELLED.finditer(text):
        if match[1] not in _IN_CHATS:
            continue
        size += len(text[done : match.start()].encode())
        end = size + len(match[0])
        found.append(Special(match[1], size, end))
        size, done = end, match.end()
    return found
