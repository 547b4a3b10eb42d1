"""The forms that synthesised documents have: one line each in ``FORMS``.

A form makes the row of a number, as a file of ``python -m vl_data synthesise`` has it, and names
what makes a record of such a row: the reader of that format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflow.sources.formats import llava, pairs, preferences
from dataflow.sources.formats.pairs import Found
from dataflow.sources.spec import Record, SourceSpec

if TYPE_CHECKING:  # draws with matplotlib, which not every machine has
    from vl_data.synthesis.synthesise import Settings
    from vl_data.synthesis.texts import TextPool

Row = tuple[dict[str, Any], list[Found]]
"""A row, and the images that it names, in order."""


class Form(NamedTuple):
    """How the row of a number is made, and how it becomes a record.

    ``record`` takes images, row, spec, uri, offset, media type and licence.
    """

    row: Callable[[int, Settings, TextPool], Row]
    record: Callable[[Sequence[Found], Mapping[str, Any], SourceSpec, str, int, str, str], Record]


def _row_of(form: str) -> Callable[[int, Settings, TextPool], Row]:
    """Of a form of ``vl_data.synthesis.forms``; a row that shows nothing names no image."""

    def row_of(number: int, settings: Settings, texts: TextPool) -> Row:
        from vl_data.synthesis.forms import FORMS as RECORDS
        from vl_data.synthesis.synthesise import synthesise

        sample = synthesise(number, settings, texts)
        row = RECORDS[form](number, sample, settings.split, settings.seed)
        return row, [Found(sample.image, row["image"])] if "image" in row else []

    return row_of


FORMS: dict[str, Form] = {
    "descriptions": Form(_row_of("instructions"), pairs.record_of),
    "instructions": Form(_row_of("instructions"), llava.record_of),
    "described": Form(_row_of("described"), llava.record_of),
    "experience": Form(_row_of("experience"), llava.record_of),
    "preferences": Form(_row_of("preferences"), preferences.record_of),
}
