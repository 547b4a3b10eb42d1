"""A run that a command cannot work with."""

from __future__ import annotations


class RunRefused(ValueError):
    """Names the folder or file, what was found, what was expected, and what to do."""
