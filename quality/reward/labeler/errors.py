"""What ends a labelling run."""

from __future__ import annotations


class LabelingRefused(ValueError):
    """Input or settings that a person can mend: what was found, what was expected, what to do."""


class LabelerFailed(RuntimeError):
    """The labeler could not do its work; what it has answered until then is kept."""
