"""Grouped experts against loops in float64, in both forms, with every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels.experts import experts, grouped_experts, permute, reference, unpermute
from tests.kernels.tensors.expert_layers import FEW, Problem, check, leaves, make
from tests.kernels.tensors.numerics import rel_rms

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("width", "hidden"), [(24, 40), (21, 13)])
def test_equals_the_loop_in_float64(
    device: torch.device, form: str, dtype: torch.dtype, width: int, hidden: int
) -> None:
    """Widths of 16-byte multiples go to grouped_mm, others to one product an expert."""
    problem = make(device, dtype, width=width, hidden=hidden)
    dropped = check(problem, lambda p: grouped_experts(*p))
    assert not dropped.any()


def test_float64_is_exact(device: torch.device) -> None:
    problem = make(device, torch.float64)
    problem = problem._replace(probabilities=problem.probabilities.double())
    check(problem, lambda p: grouped_experts(*p), tolerance=1e-14)


@FEW
@given(
    tokens=st.integers(0, 20),
    num_experts=st.integers(1, 7),
    choices=st.integers(1, 3),
    width=st.sampled_from([1, 4, 12, 17]),
    hidden=st.sampled_from([1, 8, 19]),
    capacity=st.none() | st.integers(0, 4),
    drop=st.sampled_from(["probability", "position"]),
    seed=st.integers(0, 2**20),
)
def test_any_shape(
    device: torch.device,
    tokens: int,
    num_experts: int,
    choices: int,
    width: int,
    hidden: int,
    capacity: int | None,
    drop: Any,
    seed: int,
) -> None:
    problem = make(
        device,
        tokens=tokens,
        width=width,
        hidden=hidden,
        num_experts=num_experts,
        choices=choices,
        seed=seed,
    )
    if tokens == 0:
        out, dropped = grouped_experts(*leaves(problem))
        assert out.shape == (0, width)
        assert dropped.shape == (0, choices)
        return
    dropped = check(problem, lambda p: grouped_experts(*p, capacity=capacity, drop=drop))
    if capacity is not None:
        expected = reference.dropped_slots(
            problem.chosen, problem.probabilities, num_experts, capacity, drop
        )
        assert torch.equal(dropped, expected)


def test_one_expert_takes_all_and_others_none(device: torch.device, form: str) -> None:
    problem = make(device, choices=1)
    problem = problem._replace(chosen=torch.full_like(problem.chosen, 3))
    check(problem, lambda p: grouped_experts(*p))


def test_no_tokens_give_zero_gradients(device: torch.device, form: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        problem = leaves(make(device, dtype, tokens=0))
        out, _ = grouped_experts(*problem)
        torch.autograd.backward(out.sum())
        for leaf in problem.leaves:
            assert leaf.grad is not None
            assert not leaf.grad.any()


def test_all_slots_dropped_give_zero(device: torch.device, form: str) -> None:
    problem = leaves(make(device))
    out, dropped = grouped_experts(*problem, capacity=0)
    torch.autograd.backward(out.sum())
    assert dropped.all()
    assert not out.any()
    for leaf in problem.leaves:
        assert leaf.grad is not None
        assert not leaf.grad.any()


def test_a_slot_without_expert_is_dropped(device: torch.device, form: str) -> None:
    problem = make(device)
    problem.chosen[3, 1] = problem.chosen[7] = -1
    dropped = check(problem, lambda p: grouped_experts(*p))
    assert torch.equal(dropped, problem.chosen < 0)


def test_leading_sizes_are_kept(device: torch.device) -> None:
    problem = make(device, tokens=12)
    flat, _ = grouped_experts(*problem)
    index = problem.chosen.view(3, 4, 2)
    x, probabilities = problem.x.view(3, 4, -1), problem.probabilities.view(3, 4, 2)
    out, dropped = grouped_experts(x, index, probabilities, *problem[3:])
    assert torch.equal(out.view(12, -1), flat)
    assert dropped.shape == index.shape


def test_weighted_unpermute_has_gradients(device: torch.device, form: str) -> None:
    """Weights after the experts, as without probabilities in the activation."""
    for dtype in (torch.float32, torch.bfloat16):

        def run(p: Problem) -> tuple[Tensor, Tensor]:
            ones = torch.ones_like(p.probabilities)
            permuted = permute(p.x, p.chosen, ones, 5, capacity=6)
            y = experts(permuted.tokens, p.w_gate_up, p.w_down, permuted.offsets)
            out = unpermute(y, permuted.row_of, permuted.offsets, p.probabilities)
            return out, permuted.dropped

        assert check(make(device, dtype), run).any()


def test_strided_inputs_are_read_as_they_are(device: torch.device, form: str) -> None:
    problem = make(device, width=24)
    wide = torch.randn(19, 40, device=device)
    wide[:, 8:32] = problem.x
    turned = problem.w_down.transpose(1, 2).contiguous().transpose(1, 2)
    straight, _ = grouped_experts(*problem)
    for x in (wide[:, 8:32], problem.x.T.contiguous().T):
        out, _ = grouped_experts(x, *problem[1:4], turned)
        assert torch.equal(out, straight)
    ours = leaves(problem)
    torch.autograd.backward(grouped_experts(*ours)[0].sum())  # an expanded gradient, of stride 0
    exact = leaves(problem, torch.float64)
    torch.autograd.backward(reference.grouped_experts(*exact).sum())
    for found, wanted in zip(ours.leaves, exact.leaves, strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        assert rel_rms(found.grad, wanted.grad) <= 1e-5


def test_nan_stays_with_its_token(device: torch.device, form: str) -> None:
    """It reaches its own output, and from a dropped slot nothing."""
    problem = make(device)
    problem.x[4] = float("nan")
    out, _ = grouped_experts(*problem)
    assert out[4].isnan().all()
    assert out.isnan().any(dim=1).sum() == 1
    problem.chosen[4] = -1
    ours = leaves(problem)
    out, _ = grouped_experts(*ours)
    torch.autograd.backward(out.sum())
    assert not out.isnan().any()
    assert not out[4].any()
    for leaf in ours.leaves:
        assert leaf.grad is not None
        assert not leaf.grad.isnan().any()
