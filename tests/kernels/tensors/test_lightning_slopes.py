"""The slopes in use, against values worked out by hand and the rule's own properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lightning.slopes import alibi_slopes, hugging_face_slopes, linear_slopes, no_decay


def test_slopes_of_minimax_text_01() -> None:
    """64 heads, 80 layers: the ends of the first and of the last lightning layer (78)."""
    first, last = alibi_slopes(64, 0, 80), alibi_slopes(64, 78, 80)
    assert first.dtype == torch.float32
    assert first[0].item() == pytest.approx(2 ** (-1 / 8) * 1.00001, rel=1e-7)
    assert first[63].item() == pytest.approx(2**-8 * 1.00001, rel=1e-7)
    assert last[63].item() == pytest.approx(2**-8 * (1 / 79 + 1e-5), rel=1e-7)


def test_last_layer_still_decays() -> None:
    assert torch.equal(alibi_slopes(8, 79, 80), (alibi_slopes(8, 0, 80).double() / 100001).float())


def test_heads_that_are_no_power_of_two_interleave() -> None:
    """Six heads: those of four, then every second one of eight."""
    four = [2**-2, 2**-4, 2**-6, 2**-8]
    eight = [2**-1, 2**-3]
    expected = torch.tensor(four + eight, dtype=torch.float64) * 1.00001
    torch.testing.assert_close(alibi_slopes(6, 0, 1).double(), expected, rtol=1e-7, atol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 90))
def test_alibi_slopes_are_positive_and_fall_with_the_layer(heads: int, layers: int) -> None:
    every = torch.stack([alibi_slopes(heads, layer, layers) for layer in range(layers)])
    assert (every > 0).all()
    assert (every <= 1.00001).all()
    assert (every.diff(dim=0) < 0).all()
    assert len(set(every[0].tolist())) == heads


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 7), st.integers(2, 90), st.data())
def test_transformers_divides_by_a_little_more(
    power: int, layers: int, data: st.DataObject
) -> None:
    """Powers of two: the factors differ by ``l/(L-1) - l/(L-1+1e-5)``, about 1e-5 l/(L-1)^2."""
    layer = data.draw(st.integers(0, layers - 1))
    ours, theirs = (f(1 << power, layer, layers) for f in (alibi_slopes, hugging_face_slopes))
    apart = 1e-5 * layer / (layers - 1) ** 2
    torch.testing.assert_close(
        theirs.double() - ours.double(),
        apart * alibi_slopes(1 << power, 0, layers).double(),
        rtol=1e-3,
        atol=1.3e-7,
    )


def test_linear_slopes() -> None:
    assert linear_slopes(4, 1, 4).tolist() == [0.0, 1.5, 3.0, 4.5]
    assert linear_slopes(64, 0, 80)[0] == 0
    assert math.isclose(float(linear_slopes(64, 0, 80)[63]), 8 * 63 / 64)


def test_no_decay() -> None:
    assert torch.equal(no_decay(3), torch.zeros(3))


@pytest.mark.parametrize("make", [alibi_slopes, hugging_face_slopes, linear_slopes])
@pytest.mark.parametrize("arguments", [(0, 0, 1), (4, -1, 3), (4, 3, 3), (4, 0, 0)])
def test_bad_arguments(make: object, arguments: tuple[int, int, int]) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="expected"):
        make(*arguments)
