"""The families there are. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vl_data.synthesis import (
    charts,
    colour_names,
    counting,
    geometry,
    grounding,
    ocr,
    spatial,
    tables,
)
from vl_data.synthesis.errors import SynthesisError
from vl_data.synthesis.sample import Family

FAMILIES: Mapping[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (counting, colour_names, spatial, grounding, geometry, ocr, tables, charts)
}

SMALLEST_SIZE, LARGEST_SIZE = 56, 1344
"""Pixels of an image's longer side."""


def chosen(names: Iterable[str] | None, side: int) -> list[Family]:
    """The families of these names; None: all that can be read at this size.

    Parameters
    ----------
    side : int
        The images' shorter side, pixels.

    Raises
    ------
    SynthesisError
        For a name that is none or comes twice, and for a family that needs larger images.
    """
    if names is None:
        return [family for family in FAMILIES.values() if family.smallest <= side]
    found = []
    for name in names:
        if name not in FAMILIES:
            raise SynthesisError(
                f"families: found {name!r}, expected some of {', '.join(FAMILIES)}"
            )
        family = FAMILIES[name]
        if family in found:
            raise SynthesisError(f"families: found {name!r} twice, expected each once")
        if side < family.smallest:
            raise SynthesisError(
                f"size: found images whose shorter side is {side} pixels, expected at least "
                f"{family.smallest} for the family {name!r}; make them larger or leave it out"
            )
        found.append(family)
    if not found:
        raise SynthesisError(f"families: found none, expected some of {', '.join(FAMILIES)}")
    return found
