"""Small layers of experts, and how a run of one is held against the loop in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from kernels.experts import reference
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Problem(NamedTuple):
    """One layer's inputs."""

    x: Tensor
    chosen: Tensor
    probabilities: Tensor
    w_gate_up: Tensor
    w_down: Tensor

    @property
    def leaves(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What gets a gradient."""
        return self.x, self.probabilities, self.w_gate_up, self.w_down


def make(
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    tokens: int = 19,
    width: int = 24,
    hidden: int = 40,
    num_experts: int = 5,
    choices: int = 2,
    seed: int = 0,
) -> Problem:
    """Random inputs; choices of a token differ where there are experts enough."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(device, dtype)

    scores = torch.rand(tokens, max(num_experts, choices), generator=generator)
    index = scores.topk(choices).indices % num_experts
    return Problem(
        normal(tokens, width),
        index.to(device),
        torch.rand(tokens, choices, generator=generator).to(device),
        normal(num_experts, 2 * hidden, width, scale=width**-0.5),
        normal(num_experts, width, hidden, scale=hidden**-0.5),
    )


def leaves(problem: Problem, dtype: torch.dtype | None = None) -> Problem:
    """A copy whose float tensors collect gradients."""
    x, probabilities, w_gate_up, w_down = (
        leaf.detach().clone().to(dtype or leaf.dtype).requires_grad_() for leaf in problem.leaves
    )
    return Problem(x, problem.chosen, probabilities, w_gate_up, w_down)


def check(
    problem: Problem,
    run: Callable[[Problem], tuple[Tensor, Tensor]],
    tolerance: float | None = None,
) -> Tensor:
    """Output and every gradient of ``run`` against the reference; returns the dropped slots."""
    ours, exact = leaves(problem), leaves(problem, torch.float64)
    tolerance = tolerance or TOLERANCE[problem.x.dtype]
    out, dropped = run(ours)
    expected = reference.grouped_experts(*exact, dropped=dropped)
    generator = torch.Generator().manual_seed(99)
    d_out = torch.randn(out.shape, generator=generator).to(out)
    torch.autograd.backward(out, d_out)
    torch.autograd.backward(expected, d_out.double())
    assert out.dtype == problem.x.dtype
    assert rel_rms(out.detach(), expected.detach()) <= tolerance
    names = ("x", "probabilities", "w_gate_up", "w_down")
    for name, found, wanted in zip(names, ours.leaves, exact.leaves, strict=True):
        assert found.grad is not None, name
        assert found.grad.dtype == found.dtype, name
        grad = wanted.grad if wanted.grad is not None else torch.zeros_like(wanted)
        assert rel_rms(found.grad, grad) <= tolerance, name
    return dropped
