"""A preview that cannot be made."""

from __future__ import annotations


class PreviewRefused(ValueError):
    """Names the option, what was found and what was expected."""
