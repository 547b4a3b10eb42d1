from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.report.scales import (
    FineHistogram,
    Kind,
    Mark,
    coarsen,
    fine_bins,
    position,
    representatives,
)

KINDS: tuple[Kind, ...] = ("fraction", "integer", "real")
VALUES = {
    "fraction": st.floats(0, 1),
    "integer": st.integers(0, 10**9).map(float),
    "real": st.floats(0, 1e6),
}


@pytest.mark.parametrize("kind", KINDS)
def test_representatives_lie_in_their_own_bins(kind: Kind) -> None:
    values = representatives(kind)
    assert (np.diff(values) > 0).all()
    assert np.array_equal(fine_bins(kind, values), np.arange(len(values)))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_nothing_is_lost_between_the_grains(kind: Kind, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(VALUES[kind], min_size=1, max_size=60)))
    groups = np.array(data.draw(st.lists(st.integers(0, 1), min_size=60, max_size=60)))[
        : len(values)
    ]
    mark_strategy = st.builds(Mark, VALUES[kind], st.sampled_from(["min", "max"]))
    marks = data.draw(st.lists(mark_strategy, max_size=2))
    fine = FineHistogram(kind)
    fine.add(values, groups)
    coarse = coarsen(fine, marks)
    assert coarse is not None
    total = coarse.counts.sum(axis=1) + coarse.below + coarse.above
    assert total.tolist() == [int((groups == 0).sum()), int((groups == 1).sum())]
    assert (np.diff(coarse.edges) > 0).all()
    assert len(coarse.edges) < 120
    for mark in marks:
        if not coarse.log or mark.value > coarse.edges[-1] * 1e-8:
            assert coarse.edges[0] <= position(mark, kind) * (1 + 1e-9) + 1e-9
            assert (
                min(position(mark, kind), 1e18 if kind != "fraction" else 1)
                <= coarse.edges[-1] * (1 + 1e-9) + 1e-9
            )


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(0, 50))
def test_histograms_of_parts_add_up(values: list[float], cut: int) -> None:
    whole, parts = FineHistogram("fraction", 1), FineHistogram("fraction", 1)
    whole.add(np.array(values))
    parts.add(np.array(values[cut:]))
    parts.add(np.array(values[:cut]))
    assert np.array_equal(whole.counts, parts.counts)


@pytest.mark.parametrize("threshold", [0.01, 0.12, 0.18, 0.3, 0.67, 0.9])
def test_a_fraction_threshold_stands_on_an_edge(threshold: float) -> None:
    fine = FineHistogram("fraction")
    fine.add(np.random.default_rng(3).beta(1, 4, 500))
    coarse = coarsen(fine, [Mark(threshold, "max")])
    assert coarse is not None
    line = position(Mark(threshold, "max"), "fraction")
    assert min(abs(edge - line) for edge in coarse.edges) < 1e-9
    assert threshold < line < threshold + 0.001


def test_an_integer_maximum_is_still_on_the_keeping_side() -> None:
    assert position(Mark(2, "max"), "integer") == 3
    assert position(Mark(2, "min"), "integer") == 2


def test_wide_counts_get_a_logarithmic_axis() -> None:
    fine = FineHistogram("integer")
    fine.add(np.random.default_rng(3).lognormal(6, 2, 2000).astype(np.int64).astype(float))
    coarse = coarsen(fine, [Mark(50, "min"), Mark(100_000, "max")])
    assert coarse is not None
    assert coarse.log
    assert coarse.edges[-1] > 100_000
