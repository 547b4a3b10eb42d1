"""Descriptions of images: about 300 tokens (MiniMax-01, section 6.1), cut between sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[」』”]?")


@dataclass(frozen=True)
class DescriptionLength:
    """How long a description is to be, in tokens.

    A text of ``least`` to ``most`` is taken whole; a longer one is cut to about ``target``.
    """

    least: int = 100
    target: int = 300
    most: int = 450

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.target <= self.most:
            raise ValueError(
                f"found least {self.least}, target {self.target}, most {self.most}; expected them "
                "in ascending order, and the least above 0"
            )


def fit_description(
    text: str, count: Callable[[str], int], length: DescriptionLength | None = None
) -> str | None:
    """The text as a description; None where it is too short, or cannot be cut to size.

    Parameters
    ----------
    count : callable
        How many tokens a text takes.

    Returns
    -------
    str or None
        The text, or the whole sentences from its first on whose number of tokens is nearest to the
        target, the shorter of two as near.
    """
    length = length or DescriptionLength()
    text = text.strip()
    whole = count(text)
    if whole <= length.most:
        return text if whole >= length.least else None
    best: tuple[int, str] | None = None
    for found in _SENTENCE_END.finditer(text):
        beginning = text[: found.end()]
        tokens = count(beginning)
        if tokens > length.most:
            break
        away = abs(tokens - length.target)
        if tokens >= length.least and (best is None or away < best[0]):
            best = away, beginning
    return best[1] if best else None
