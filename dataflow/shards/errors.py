"""What can be wrong with a shard."""

from __future__ import annotations


class ShardError(ValueError):
    """A shard cannot be written as asked, or what is read is not a whole and sound shard."""
