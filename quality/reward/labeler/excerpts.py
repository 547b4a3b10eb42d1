"""What a rater reads of a document: all of it, or of a long one beginning, middle and end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Characters of a document from ``start`` on, before ``end``, counted from 0."""

    start: int
    end: int
    text: str


def excerpt(text: str, most: int) -> tuple[Part, ...]:
    """One part that is the whole text, or three of about equal lengths, together ``most`` long.

    Raises
    ------
    ValueError
        If ``most`` is less than 3.
    """
    if most < 3:
        raise ValueError(f"found {most} characters, expected 3 or more")
    if len(text) <= most:
        return (Part(0, len(text), text),)
    each = most // 3
    middle = (len(text) - each) // 2
    last = len(text) - (most - 2 * each)
    places = ((0, each), (middle, middle + each), (last, len(text)))
    return tuple(Part(start, end, text[start:end]) for start, end in places)
