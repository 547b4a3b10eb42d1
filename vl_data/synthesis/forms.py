"""The forms that a sample's line may have: one line each in ``FORMS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vl_data.synthesis.described import described_record
from vl_data.synthesis.errors import SynthesisError
from vl_data.synthesis.experience import experience_record
from vl_data.synthesis.preferences import preference_record
from vl_data.synthesis.records import record_of
from vl_data.synthesis.sample import Sample, Split

RecordOf = Callable[[int, Sample, Split, int], dict[str, Any]]
"""Of number, sample, split and seed."""

FORMS: Mapping[str, RecordOf] = {
    "instructions": lambda number, sample, split, _: record_of(number, sample, split),
    "described": described_record,
    "experience": experience_record,
    "preferences": preference_record,
}
"""``instructions`` have the sample's description too; ``described`` have it as their last turn,
``experience`` more turns; all three are LLaVA's form. ``preferences`` are pairs of answers; some of
them show no image."""


def form_of(name: str) -> RecordOf:
    """The form of a name.

    Raises
    ------
    SynthesisError
        If it is none.
    """
    if name not in FORMS:
        raise SynthesisError(f"form: found {name!r}, expected one of {', '.join(FORMS)}")
    return FORMS[name]
