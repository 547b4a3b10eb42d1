"""The one error of conversion."""

from __future__ import annotations


class ConversionError(ValueError):
    """A folder, key, shape or configuration that does not convert: where, found, expected."""
