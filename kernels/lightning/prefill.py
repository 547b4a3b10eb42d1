"""Which tile a prefill takes, by its length."""

from __future__ import annotations

PREFILL_TILES = (32, 64, 128, 256)
"""Tiles of tokens that a prefill is cut into (MiniMax-01, section 3.3: multi-level padding)."""


def prefill_tile(length: int, spare: float = 0.0) -> int:
    """The tile of ``PREFILL_TILES`` that pads ``length`` tokens least; of equal ones the largest.

    A tile of ``C`` pads to ``ceil(length / C) · C`` tokens. ``spare`` lets a larger tile, which has
    fewer hand-overs of the state, pad by that share of ``length`` more than the least: 8,200 tokens
    take a tile of 32 with ``spare=0`` and of 256 with ``spare=1/16``. No token takes the smallest.

    Raises ``ValueError`` for a negative ``length`` or ``spare``.
    """
    if length < 0:
        raise ValueError(f"found a prefill of {length} tokens, expected none or more")
    if not spare >= 0:
        raise ValueError(
            f"found spare={spare}, expected a share of the length that is not negative"
        )
    if length == 0:
        return PREFILL_TILES[0]
    padding = {tile: -length % tile for tile in PREFILL_TILES}
    allowed = min(padding.values()) + spare * length
    return max(tile for tile in PREFILL_TILES if padding[tile] <= allowed)
