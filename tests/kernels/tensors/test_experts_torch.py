"""Grouped experts inside torch: compiled, checkpointed, captured, and with the same bits again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.experts import activation, grouped_experts, order, products, rows
from tests.kernels.tensors.expert_layers import Problem, check, leaves, make


def test_runs_repeat_bit_for_bit(device: torch.device, form: str) -> None:
    def once() -> list[Tensor]:
        problem = leaves(make(device, torch.bfloat16, tokens=40))
        out, _ = grouped_experts(*problem, capacity=12)
        torch.autograd.backward(out.square().sum())
        grads = [leaf.grad for leaf in problem.leaves if leaf.grad is not None]
        return [out.detach(), *grads]

    first, second = once(), once()
    assert len(first) == 5
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_gradients_are_made_only_where_asked(device: torch.device, form: str) -> None:
    problem = leaves(make(device))
    for leaf in problem.leaves[1:]:
        leaf.requires_grad_(False)
    torch.autograd.backward(grouped_experts(*problem)[0].sum())
    assert problem.x.grad is not None
    assert all(leaf.grad is None for leaf in problem.leaves[1:])


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_compiled_equals_eager(device: torch.device, form: str, fresh_compiler: None) -> None:
    problem = make(device)
    compiled = torch.compile(grouped_experts, backend="aot_eager", fullgraph=True)
    check(problem, lambda p: compiled(*p, capacity=6))


def test_checkpointed_equals_eager(device: torch.device, form: str) -> None:
    def run(p: Problem) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = checkpoint(grouped_experts, *p, use_reentrant=False)
        return found

    check(make(device), run)


def test_operators_keep_their_contracts(device: torch.device) -> None:
    """Schemas, shapes without data, and autograd registration, as torch checks them."""
    problem = leaves(make(device, tokens=6, width=8, hidden=8))
    index, (row_of, offsets) = problem.chosen, order.order_slots(problem.chosen, 5)
    y = torch.randn(12, 8, device=device, requires_grad=True)
    gate_up = torch.randn(12, 16, device=device, requires_grad=True)
    values = torch.rand(12, device=device, requires_grad=True)
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor")
    for operator, arguments in (
        (order.order_slots, (index, 5)),
        (rows._spread, (problem.x, problem.probabilities, row_of, offsets)),
        (rows._collect, (y, values, row_of, offsets)),
        (rows._collect_weighted, (y, problem.probabilities, row_of, offsets)),
        (activation._swiglu, (gate_up, values, offsets)),
        (products.grouped_product, (y, problem.w_gate_up, offsets, False)),
        (products.grouped_product, (gate_up, problem.w_gate_up, offsets, True)),
        (products.grouped_outer, (gate_up.detach(), y.detach(), offsets)),
    ):
        torch.library.opcheck(operator, arguments, test_utils=utilities)


@pytest.mark.gpu
def test_captured_in_a_cuda_graph(device: torch.device) -> None:
    """Another routing through the captured graph: nothing of the first is baked in."""
    problem = make(device, torch.bfloat16, tokens=512, width=256, hidden=128, num_experts=8)
    warm = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm):
        grouped_experts(*problem, capacity=100)
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, dropped = grouped_experts(*problem, capacity=100)
    problem.chosen.copy_((problem.chosen + 3) % 8)
    graph.replay()
    expected, expected_dropped = grouped_experts(*problem, capacity=100)
    assert torch.equal(dropped, expected_dropped)
    assert torch.equal(out, expected)
