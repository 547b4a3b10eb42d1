"""What the statistics refuse."""

from __future__ import annotations


class StatisticsError(ValueError):
    """Numbers that say nothing of the question, or a question without an answer: says which value,
    what was found, what was expected and what to do."""
