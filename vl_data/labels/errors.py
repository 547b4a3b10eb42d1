"""Input or settings of a labelling run that a person can mend."""

from __future__ import annotations


class LabelError(ValueError):
    """Names file, line and field, what was found and what was expected."""
