"""Synthesised documents, made where others are read: the same ones in any range of numbers."""

from __future__ import annotations

from dataclasses import replace

from dataflow.sources.formats.fitted import OVER_LENGTH
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Fields, Item, Outcomes, SourceError, SourceSpec, Unreadable
from dataflow.sources.synthesised.forms import FORMS
from dataflow.sources.synthesised.settings import (
    fingerprint,
    settings_of,
    synthesis_of,
    texts_of,
)
from vl_data.limits import ANY_SIZE
from vl_data.mix.refusals import SampleRefused

MEDIA_TYPE = "application/json"
FIELDS = Fields(
    id="id",
    image="image",
    caption="description",
    metadata=("family", "layout", "split", "prompts", "truth"),
)
"""Of the rows that are made."""


def read(spec: SourceSpec, item: Item) -> Outcomes:
    """The documents of the numbers ``item.start … item.end - 1``; a document's offset is its
    number.

    Raises
    ------
    SourceError
        If a form's row is refused by its own reader: nothing here comes from outside. If other
        libraries draw here than where the source was planned, or the words have changed.
    """
    form = FORMS[synthesis_of(spec).form]
    settings, texts = settings_of(spec), texts_of(spec)
    if fingerprint(spec) != item.fingerprint:
        raise SourceError(
            f"source {spec.name}: found another file of words, or other versions of matplotlib, "
            "Pillow or Leyden, than when the source was planned, expected the same on all machines "
            "of a build; build again"
        )
    # The limits are for images of others; these are as large as the recipe says.
    known = replace(spec, fields=FIELDS, images=ANY_SIZE)
    for number in range(item.start, item.end):
        row, images = form.row(number, settings, texts)
        try:
            yield form.record(images, row, known, item.uri, number, MEDIA_TYPE, item.license)
        except (Refusal, SampleRefused) as refusal:
            if refusal.reason == OVER_LENGTH:  # as the recipe's ``fit`` wants it
                yield Unreadable(item.uri, number, refusal.reason, refusal.detail)
                continue
            raise SourceError(
                f"source {spec.name}: {item.uri}: number {number} was made and then refused: "
                f"{refusal.reason}: {refusal.detail}"
            ) from refusal
