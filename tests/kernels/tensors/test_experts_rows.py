"""The passes over rows sorted by expert, and what they leave of the rows past the last one."""

from __future__ import annotations

import pytest
import torch

from kernels.experts import activation, experts, permute, products, unpermute
from tests.kernels.tensors.expert_layers import Problem, leaves, make
from tests.kernels.tensors.numerics import rel_rms


@pytest.mark.parametrize(("width", "hidden"), [(24, 40), (21, 13)])
def test_rows_past_the_last_expert_are_not_read(
    device: torch.device, form: str, width: int, hidden: int
) -> None:
    """NaN there, in every input and every gradient that comes in, reaches nothing."""
    problem = make(device, width=width, hidden=hidden)
    permuted = permute(*problem[:3], 5, capacity=5)
    kept = int(permuted.offsets[-1])
    assert kept < permuted.tokens.shape[0]
    x, probabilities = permuted.tokens.clone(), permuted.probabilities.clone()
    x[kept:], probabilities[kept:] = float("nan"), float("nan")
    ours = leaves(Problem(x, problem.chosen, probabilities, problem.w_gate_up, problem.w_down))
    y = experts(ours.x, ours.w_gate_up, ours.w_down, permuted.offsets, ours.probabilities)
    poison = y.detach().clone()
    poison[kept:] = float("nan")
    expected = unpermute(y.detach(), permuted.row_of, permuted.offsets)
    assert torch.equal(unpermute(poison, permuted.row_of, permuted.offsets), expected)
    torch.autograd.backward(y, poison)
    for leaf in ours.leaves:
        assert leaf.grad is not None
        assert not leaf.grad[: kept if leaf.shape[0] == x.shape[0] else None].isnan().any()
    assert ours.probabilities.grad is not None
    assert not ours.probabilities.grad[kept:].any()

    rows = poison.requires_grad_()
    weights = problem.probabilities.clone().requires_grad_()
    torch.autograd.backward(unpermute(rows, permuted.row_of, permuted.offsets, weights).sum())
    assert rows.grad is not None
    assert weights.grad is not None
    assert not rows.grad.isnan().any()
    assert not rows.grad[kept:].any()
    assert not weights.grad[permuted.dropped].any()


def test_swiglu_reads_no_row_past_the_last_expert(device: torch.device, form: str) -> None:
    offsets = torch.tensor([3, 3, 7], dtype=torch.int32, device=device)
    gate_up, scales, d_hidden = (
        torch.randn(11, *size, device=device) for size in ((18,), (), (9,))
    )
    for tensor in (gate_up, scales, d_hidden):
        tensor[7:] = float("nan")
    gate_up.requires_grad_()
    scales.requires_grad_()
    hidden = activation.swiglu(gate_up, scales, offsets)
    torch.autograd.backward(hidden, d_hidden)
    for found in (hidden, gate_up.grad, scales.grad):
        assert found is not None
        assert not found[:7].isnan().any()
        assert not found[7:].any()


@pytest.mark.parametrize("transposed", [False, True])
def test_products_equal_a_loop(device: torch.device, transposed: bool) -> None:
    offsets = torch.tensor([2, 2, 7], dtype=torch.int32, device=device)
    x = torch.randn(7, 8, device=device, requires_grad=True)
    weight = torch.randn(3, 12, 8, device=device)
    weight = (weight.transpose(1, 2).contiguous() if transposed else weight).requires_grad_()
    straight = weight.transpose(1, 2) if transposed else weight
    expected = torch.cat([x[:2] @ straight[0].T, x[2:] @ straight[2].T])
    found = products.grouped_product(x, weight, offsets, transposed)
    d_out = torch.randn_like(expected)
    assert rel_rms(found.detach(), expected.detach()) <= 1e-6
    for a, b in zip(
        torch.autograd.grad(found, (x, weight), d_out),
        torch.autograd.grad(expected, (x, weight), d_out),
        strict=True,
    ):
        assert rel_rms(a, b) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_empty_experts_gradients_are_zeroed(device: torch.device, dtype: torch.dtype) -> None:
    """What the kernel for Blackwell does, wherever it runs."""
    weights = torch.ones(4, 50, 200, dtype=dtype, device=device)
    offsets = torch.tensor([0, 3, 3, 8], dtype=torch.int32, device=device)
    products.zero_empty(weights, offsets)
    assert weights.flatten(1).float().mean(dim=1).tolist() == [0.0, 1.0, 0.0, 1.0]
