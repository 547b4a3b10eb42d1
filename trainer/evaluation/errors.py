"""What stops an evaluation: a file, an option or a length that a person can mend."""

from __future__ import annotations


class EvaluationError(ValueError):
    """What was asked for cannot be measured; the text says what to change."""
