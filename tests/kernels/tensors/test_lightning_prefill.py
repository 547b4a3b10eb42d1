"""Which tile a prefill takes."""

from __future__ import annotations

import pytest

from kernels.lightning.prefill import PREFILL_TILES, prefill_tile


def test_the_tile_of_a_prefill_pads_least() -> None:
    for length in range(1, 1100):
        tile = prefill_tile(length)
        padding = {size: -length % size for size in PREFILL_TILES}
        assert padding[tile] == min(padding.values())
        assert all(padding[size] > padding[tile] for size in PREFILL_TILES if size > tile)
    found = {n: prefill_tile(n) for n in (0, 1, 32, 33, 50, 64, 65, 128, 256, 300, 1000, 8200)}
    assert found == {
        0: 32, 1: 32, 32: 32, 33: 64, 50: 64, 64: 64, 65: 32, 128: 128, 256: 256, 300: 64,
        1000: 256, 8200: 32,
    }  # fmt: skip
    assert prefill_tile(8200, 1 / 16) == 256
    assert prefill_tile(300, 1 / 16) == 64
    for arguments in ((-1,), (5, -0.1), (5, float("nan"))):
        with pytest.raises(ValueError):
            prefill_tile(*arguments)
