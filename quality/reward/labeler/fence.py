"""A document as data in a prompt: between marks that cannot occur in it.

Two ways out of a fence are closed. The mark is made from a hash of the document, so that nobody who
writes one can write its mark, and it is drawn again should it occur all the same. And the control
tokens of chat templates lose their meaning: a server parses them wherever they are spelt, so that
a document with ``<|im_end|>`` in it would otherwise end the message it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from blake3 import blake3

from quality.reward.labeler.excerpts import Part

BREAK = "\u200b"
"""A blank of no width, put into what would be a control token."""
_CONTROL = re.compile(
    r"<(?=[|｜])|[|｜](?=>)|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\])"
    r"|<(?=</?SYS>>)|<(?=/?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|start_of_turn|"
    r"end_of_turn|begin_of_document|end_of_document|beginning_of_sentence|end_of_sentence)>)"
    r"|\](?=~!?b[\[\]])|\[(?=e~\[)",
    re.IGNORECASE,
)
_DOMAIN = b"leyden.fence.1\0"
_DIGITS = 24


def disarmed(text: str) -> str:
    """The text with every control token of a common chat template broken by ``BREAK``."""
    return _CONTROL.sub(lambda found: found[0] + BREAK, text)


def mark_of(text: str, digits: int = _DIGITS) -> str:
    """Hex digits that do not occur in a text, in capitals or not; ``digits`` of them, or more."""
    folded = text.casefold()
    for number in count():
        digest = blake3(_DOMAIN + b"%d\0" % number + text.encode())
        mark = str(digest.hexdigest(length=digits + number)[: digits + number])
        if mark not in folded:
            return mark
    raise AssertionError("unreachable: in the end a mark is longer than the text")


def fenced(parts: Sequence[Part], characters: int) -> str:
    """The parts of a document of so many characters, each between two lines with its mark."""
    shown = [disarmed(part.text) for part in parts]
    mark = mark_of("\n".join(shown))
    if len(parts) == 1:
        head = f"A document of {characters:,} characters follows, whole."
    else:
        head = (
            f"Of a document of {characters:,} characters follow {len(parts)} parts: beginning, "
            "middle and end. What lies between them is left out here, not in the document."
        )
    head += f" It stands between lines that hold the mark {mark}."
    pieces = [
        f"{opening(mark, part)}\n{text}\n{closing(mark, part)}"
        for part, text in zip(parts, shown, strict=True)
    ]
    return "\n".join([head, *pieces])


def opening(mark: str, part: Part) -> str:
    """The line before a part."""
    return f"[{mark} begins: characters {part.start:,} to {part.end:,}]"


def closing(mark: str, part: Part) -> str:
    """The line after a part."""
    return f"[{mark} ends: characters {part.start:,} to {part.end:,}]"
