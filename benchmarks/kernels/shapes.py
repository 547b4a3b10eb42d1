"""The sizes that are measured. The smaller ones are for a smoke test and for tests on a CPU."""

from __future__ import annotations

from typing import NamedTuple


class Attention(NamedTuple):
    """``batch`` sequences of ``tokens``, with ``heads``."""

    batch: int
    tokens: int
    heads: int

    @property
    def name(self) -> str:
        """As in ``8 × 8K × 64 heads``."""
        return f"{self.batch} × {short(self.tokens)} × {self.heads} heads"

    @property
    def rows(self) -> int:
        """Tokens times heads of the whole batch."""
        return self.batch * self.tokens * self.heads


class Sizes(NamedTuple):
    """Everything that a run may make smaller."""

    attention: tuple[Attention, ...]
    flat_from: int
    """Tokens from which time per token is to be flat."""
    head: int
    layers: int
    """Of the model: where the slopes of a layer come from."""
    tokens: int
    """Rows of the operators around attention."""
    width: int
    vocabulary_tokens: int
    vocabulary: int
    experts: str
    """The shape's name in ``experts.py``."""


# Batch times length is 64K, and from 256K on heads are fewer, as on the ranks of a tensor-parallel
# group: all but the last have as many rows.
FULL = Sizes(
    attention=(
        Attention(64, 1 << 10, 64),
        Attention(16, 4 << 10, 64),
        Attention(8, 8 << 10, 64),
        Attention(4, 16 << 10, 64),
        Attention(1, 64 << 10, 64),
        Attention(1, 256 << 10, 16),
        Attention(1, 1 << 20, 8),
    ),
    flat_from=8 << 10,
    head=128,
    layers=80,
    tokens=1 << 16,
    width=6144,
    vocabulary_tokens=8192,
    vocabulary=200_064,
    experts="middle",
)
QUICK = FULL._replace(
    attention=(Attention(16, 1 << 10, 16), Attention(2, 8 << 10, 16), Attention(1, 64 << 10, 4)),
    tokens=1 << 13,
    vocabulary_tokens=2048,
    vocabulary=32_000,
    experts="small",
)


def short(tokens: int) -> str:
    """1,024 as ``1K``, 1,048,576 as ``1M``; others as they are."""
    for unit, name in ((1 << 20, "M"), (1 << 10, "K")):
        if tokens and tokens % unit == 0:
            return f"{tokens // unit}{name}"
    return str(tokens)
