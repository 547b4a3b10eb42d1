"""Which row a slot gets, and which slots an expert's capacity drops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.experts import expert_capacity, over_capacity, permute, reference
from kernels.experts.tiles import order_tile, row_tile
from tests.kernels.tensors.expert_layers import FEW, make


def test_rows_are_a_stable_sort_by_expert(device: torch.device, form: str) -> None:
    """Over several blocks of the counting sort, 32- and 64-bit indices alike."""
    generator = torch.Generator().manual_seed(4)
    index = torch.randint(-1, 9, (700, 3), generator=generator)
    x = torch.arange(700.0)[:, None].to(device)
    probabilities = torch.rand(700, 3, generator=generator).to(device)
    found = permute(x, index.to(device), probabilities, 9)
    narrow = permute(x, index.to(device, torch.int32), probabilities, 9)
    key = torch.where(index < 0, 9, index).flatten()
    slots = torch.argsort(key, stable=True)
    kept = int((index >= 0).sum())
    assert found.offsets.dtype == torch.int32
    assert found.offsets.tolist() == [int((key <= expert).sum()) for expert in range(9)]
    assert torch.equal(found.row_of.flatten().cpu()[slots], torch.arange(2100, dtype=torch.int32))
    assert torch.equal(found.tokens[:kept, 0].cpu(), (slots[:kept] // 3).float())
    assert torch.equal(
        found.probabilities.cpu()[:kept], probabilities.cpu().flatten()[slots[:kept]]
    )
    assert not found.tokens[kept:].any()
    assert not found.probabilities[kept:].any()
    assert torch.equal(found.dropped.cpu(), index < 0)
    assert torch.equal(found.row_of, narrow.row_of)


@FEW
@given(
    tokens=st.integers(1, 24),
    num_experts=st.integers(1, 5),
    choices=st.integers(1, 3),
    capacity=st.integers(0, 6),
    drop=st.sampled_from(["probability", "position"]),
    seed=st.integers(0, 2**20),
)
def test_drops_equal_the_loop(
    device: torch.device,
    tokens: int,
    num_experts: int,
    choices: int,
    capacity: int,
    drop: Any,
    seed: int,
) -> None:
    """With ties, slots without expert, and sequences interleaved at random."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(-1, num_experts, (tokens, choices), generator=generator)
    probabilities = torch.randint(0, 4, (tokens, choices), generator=generator) / 4
    ids = torch.randint(0, 3, (tokens,), generator=generator)
    over = over_capacity(
        index.to(device),
        probabilities.to(device),
        num_experts,
        capacity,
        drop=drop,
        sequence_ids=ids.to(device),
    )
    expected = reference.dropped_slots(index, probabilities, num_experts, capacity, drop, ids)
    assert torch.equal(over.cpu(), expected)


def test_drop_orders_by_hand(device: torch.device) -> None:
    index = torch.tensor([[0], [0], [1], [0], [0]], device=device)
    probabilities = torch.tensor([[0.2], [0.9], [0.1], [0.9], [0.5]], device=device)
    by_position = over_capacity(index, probabilities, 2, 2, drop="position")
    by_probability = over_capacity(index, probabilities, 2, 1, drop="probability")
    assert by_position.flatten().tolist() == [False, False, False, True, True]
    assert by_probability.flatten().tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("drop", ["probability", "position"])
def test_drops_of_a_sequence_do_not_depend_on_its_neighbours(
    device: torch.device, drop: Any
) -> None:
    problem = make(device, tokens=30, num_experts=3)
    index, probabilities = problem.chosen, problem.probabilities
    bounds = [0, 7, 7, 19, 30]
    cu_seqlens = torch.tensor(bounds, dtype=torch.int32, device=device)
    capacities = torch.tensor([2, 5, 3, 1], device=device)
    packed = over_capacity(index, probabilities, 3, 3, drop=drop, cu_seqlens=cu_seqlens)
    each = over_capacity(index, probabilities, 3, capacities, drop=drop, cu_seqlens=cu_seqlens)
    assert packed.any()
    for i, (begin, end) in enumerate(pairwise(bounds)):
        alone = index[begin:end], probabilities[begin:end], 3
        assert torch.equal(packed[begin:end], over_capacity(*alone, 3, drop=drop))
        own = int(capacities[i])
        assert torch.equal(each[begin:end], over_capacity(*alone, own, drop=drop))


def test_capacity_is_rounded_up() -> None:
    assert expert_capacity(8192, 2, 32, 1.25) == 640
    assert expert_capacity(10, 2, 32, 1.0) == 1
    with pytest.raises(ValueError, match="found factor 0"):
        expert_capacity(10, 2, 32, 0)


def test_tiles_are_powers_of_two() -> None:
    for width in (1, 8, 100, 1024, 1408, 9216):
        tile = row_tile(width)
        assert tile.rows * tile.columns == 2048
    for count in (1, 8, 32, 64, 255, 256, 1000):
        for size in order_tile(count):
            assert size & (size - 1) == 0
        assert order_tile(count).columns > count
