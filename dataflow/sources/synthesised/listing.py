"""The items of a synthesised source: ranges of numbers, which tasks share."""

from __future__ import annotations

from difflib import get_close_matches

from dataflow.sources.spec import Item, PlanError, SourceSpec
from dataflow.sources.synthesised.forms import FORMS
from dataflow.sources.synthesised.settings import (
    fingerprint,
    settings_of,
    synthesis_of,
    texts_of,
)

FORMAT = "synthesised"
_CHANNELS = 3


def list_items(spec: SourceSpec, partition_bytes: int) -> list[Item]:
    """The numbers ``0 … count - 1`` in ranges whose pixels take ``partition_bytes`` or less.

    What an image takes when it is drawn stands for its work, so that tasks take about as long as
    those that read files.

    Raises
    ------
    PlanError
        For settings that cannot be made, naming the field.
    """
    asked = synthesis_of(spec)
    if asked.form not in FORMS:
        near = get_close_matches(asked.form, FORMS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PlanError(
            f"source {spec.name!r}: form: found {asked.form!r}, expected one of "
            f"{', '.join(FORMS)}{hint}"
        )
    if asked.count < 1:
        raise PlanError(f"source {spec.name!r}: count: found {asked.count}, expected at least 1")
    settings_of(spec)
    texts_of(spec)
    picture = asked.size * asked.size * _CHANNELS
    step = max(1, partition_bytes // picture)
    decided = fingerprint(spec)
    return [
        Item(
            uri=f"{FORMAT}:{asked.form}",
            locator="",
            format=FORMAT,
            size=asked.count * picture,
            start=start,
            end=min(start + step, asked.count),
            fingerprint=decided,
            share=(min(start + step, asked.count) - start) * picture,
        )
        for start in range(0, asked.count, step)
    ]
