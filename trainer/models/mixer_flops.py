"""What a token mixer costs, as each says of itself; see ``trainer.flops`` for what counts."""

from __future__ import annotations

from typing import NamedTuple


class MixerFlops(NamedTuple):
    """FLOPs of a forward pass of one layer's mixer, its norms and activations not counted.

    Attributes:
        projections: into and out of it, gates included.
        mixing: what tokens do with each other.
    """

    projections: int
    mixing: int
