"""A part of an arm's documents for each of its seeds.

Where all runs of an arm read the same documents, seeds say nothing of other ones: two samples of
one corpus then differ by more than their seeds do, and a null arm is found to differ though nothing
does. With documents of its own for each seed, what documents change is a part of the variance
between runs, which is what tests compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixtures.selection import Part


def slice_of(mixture: Mapping[str, Any], place: int, of: int, salt: str) -> dict[str, Any]:
    """The mixture over one of ``of`` equal slices of its documents, which are disjoint.

    Parameters
    ----------
    mixture : the content of its file, as checked
    place : from 0
    salt : of the hash that orders documents, where a component has no ``part``
    """
    return {
        **mixture,
        "components": {
            name: {**fields, "part": _part(fields.get("part"), place, of, salt)}
            for name, fields in mixture["components"].items()
        },
    }


def _part(part: Mapping[str, Any] | None, place: int, of: int, salt: str) -> dict[str, Any]:
    whole = Part(salt=salt) if part is None else Part(**part)
    width = (whole.stop - whole.start) / of
    start = whole.start + place * width
    return Part(salt=whole.salt, start=start, stop=start + width).model_dump(mode="json")
