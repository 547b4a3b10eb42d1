"""What can be wrong with the data of a training run."""

from __future__ import annotations


class DataError(Exception):
    """A corpus, a plan, a data state and a step do not fit together."""


class BadShard(DataError):
    """A token shard is not there, or is not what the run wrote.

    Attributes
    ----------
    shards : tuple of int
        The numbers of the shards.
    """

    def __init__(self, message: str, *shards: int) -> None:
        super().__init__(message)
        self.shards = shards
