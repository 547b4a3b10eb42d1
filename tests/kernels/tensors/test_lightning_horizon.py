"""The horizon's definition, what leaving tokens out can change, and who sees how far."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lightning.horizon import UNBOUNDED, horizon, left_out, share_beyond, tail
from kernels.lightning.reference import chunked
from kernels.lightning.slopes import alibi_slopes

LIGHTNING_LAYERS = [layer for layer in range(80) if layer % 8 != 7]
"""MiniMax-Text-01: seven lightning layers, then one of softmax attention, ten times."""


@settings(max_examples=40, deadline=None)
@given(
    st.floats(1e-12, 50, allow_subnormal=False),
    st.sampled_from([1, 8, 24, 53]),
)
def test_horizon_is_the_smallest_such_distance(slope: float, bits: int) -> None:
    n = int(horizon(torch.tensor([slope], dtype=torch.float64), bits))
    assert n >= 1
    assert slope * n >= bits * math.log(2) * (1 - 1e-15)
    assert slope * (n - 1) < bits * math.log(2) * (1 + 1e-15)


def test_heads_without_decay_have_no_horizon() -> None:
    slopes = torch.tensor([0.0, math.nan, 1e-45, math.inf, 1.0])
    assert horizon(slopes).tolist() == [UNBOUNDED, UNBOUNDED, UNBOUNDED, 1, 17]
    assert tail(slopes, UNBOUNDED).tolist()[0] == math.inf
    with pytest.raises(ValueError, match="bits"):
        horizon(slopes, 0)


def test_share_of_heads_that_see_past() -> None:
    """9.4 % of MiniMax-Text-01's 4,480 lightning heads past 8K, 0.9 % past 64K, 0.3 % past 128K."""
    slopes = [alibi_slopes(64, layer, 80) for layer in LIGHTNING_LAYERS]
    assert sum(map(len, slopes)) == 4480
    shares = share_beyond(slopes, [8192, 65536, 131072])
    assert [round(100 * share, 1) for share in shares] == [9.4, 0.9, 0.3]
    horizons = torch.cat([horizon(layer) for layer in slopes]).sort().values
    assert int(horizons[2240]) == pytest.approx(735, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0.02, 1), st.sampled_from([0.5, 3.0]))
def test_leaving_tokens_out_stays_within_the_bound(
    seed: int, distance: int, slope: float, scale: float
) -> None:
    torch.manual_seed(seed)
    q, k, v = (torch.randn(1, 80, 1, 4, dtype=torch.float64) for _ in range(3))
    slopes = torch.tensor([slope], dtype=torch.float64)
    whole, _ = chunked(q, k, v, slopes, scale=scale)
    near, _ = chunked(q[:, -distance:], k[:, -distance:], v[:, -distance:], slopes, scale=scale)
    norms = {name: float(x.norm(dim=-1).max()) for name, x in zip("qkv", (q, k, v), strict=True)}
    bound = left_out(slopes, distance, scale=scale, **norms)
    rounding = 1e-13 * float(left_out(slopes, 0, scale=scale, **norms))
    assert float((whole[0, -1] - near[0, -1]).norm()) <= float(bound) + rounding


def test_the_bound_is_reached_by_tokens_that_agree() -> None:
    """All keys along q, all values alike: the change is the bound less the tail before token 0."""
    tokens, distance, slopes = 400, 30, torch.tensor([0.1], dtype=torch.float64)
    x = torch.ones(1, tokens, 1, 1, dtype=torch.float64)
    whole, _ = chunked(x, x, x, slopes)
    last = x[:, -distance:]
    near, _ = chunked(last, last, last, slopes)
    bound = left_out(slopes, distance, q=1, k=1, v=1)
    torch.testing.assert_close((whole[0, -1] - near[0, -1])[0], bound, rtol=1e-10, atol=0)


def test_state_beyond_the_horizon_counts_less_than_a_bit() -> None:
    slopes = alibi_slopes(8, 0, 8)
    state = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    for head, n in enumerate(horizon(slopes).tolist()):
        nothing = torch.zeros(1, n, 8, 4, dtype=torch.float64)
        _, after = chunked(nothing, nothing, nothing, slopes, initial_state=state)
        kept = (after / state)[0, head].abs()
        assert float(kept.max()) <= 2**-24
        assert float(kept.min()) > 2**-24 * math.exp(-float(slopes[head]))
