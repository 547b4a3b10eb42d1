"""What a budget is asked for and cannot be."""

from __future__ import annotations


class BudgetRefused(ValueError):
    """Names the option, what was found and what was expected."""
