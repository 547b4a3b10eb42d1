"""What can be wrong with an order for samples."""

from __future__ import annotations


class SynthesisError(ValueError):
    """What is asked for cannot be made; the message says what can."""


def no_matplotlib(error: ModuleNotFoundError) -> SynthesisError:
    """The error of a machine that lacks what draws charts and holds the fonts."""
    return SynthesisError(
        f"{error}: charts are drawn by matplotlib, and the fonts of all pictures are inside it; "
        "install it with `pip install 'leyden[synthesis]'`"
    )
