"""What stops the making of items."""

from __future__ import annotations


class ItemsError(ValueError):
    """A file of items, or a corpus, that cannot be used as asked; the text says what to change."""
