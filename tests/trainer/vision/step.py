"""A training step with images on a layout of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.trainer.vision.cases import LENGTH, Shown, batch, build
from trainer.megatron.optimizer import (
    OptimizerSettings,
    build_optimizer,
    gradient_norms,
    set_rate,
    wrap,
)
from trainer.megatron.optimizer import step as take_step
from trainer.megatron.start import Layout, Ranks, start
from trainer.models.recipe import ModelRecipe
from trainer.vision.parts import train_only

EXPERTS = ".mlp.experts."


@dataclass
class Part:
    """What one rank has of a step.

    Attributes:
        losses: of the last stage, the sum and the number of labels of each micro-batch.
        gradients: by global name, with the dimension that is cut over tensor-parallel ranks; none
            of what data-parallel ranks (of experts: expert-data-parallel ones) have shares of.
        norms: of each parameter's gradient over all ranks, as runs record them.
        norm: of all gradients, as the optimizer finds it.
    """

    losses: list[tuple[float, int]]
    gradients: dict[str, tuple[Tensor, int | None]]
    norms: dict[str, float]
    norm: float
    place: Ranks


@dataclass
class Whole:
    """A step: its mean loss; its gradients and their norms, by name; the norm as ranks have it."""

    loss: float
    gradients: dict[str, Tensor]
    norms: dict[str, float]
    norm: list[float]


def whole(parts: list[Part]) -> Whole:
    """Puts together what the ranks have."""
    last = [part for part in parts if part.place.is_last_stage and part.place.tp_rank == 0]
    sums = [pair for part in last for pair in part.losses]
    gradients: dict[str, Tensor] = {}
    for name in {name for part in parts for name in part.gradients}:
        having = [part for part in parts if name in part.gradients]
        by_expert = EXPERTS in name
        by_rank = {
            part.place.ep_rank if by_expert else part.place.tp_rank: part.gradients[name][0]
            for part in having
        }
        ordered = [by_rank[rank] for rank in sorted(by_rank)]
        dimension = 0 if by_expert else having[0].gradients[name][1]
        if dimension is None:
            assert all(torch.equal(ordered[0], found) for found in ordered), name
            gradients[name] = ordered[0]
        else:
            gradients[name] = torch.cat(ordered, dimension)
    total = sum(loss for loss, _ in sums) / sum(count for _, count in sums)
    return Whole(total, gradients, parts[0].norms, [part.norm for part in parts])


def run(
    recipe: ModelRecipe, layout: Layout, recompute: bool, overlap: bool, train: Sequence[str]
) -> Part:
    """Forward, backward and the reduction of gradients of four micro-batches, in schedules."""
    from trainer.models.names import global_parameters

    place = start(layout, 7)
    model = build(
        recipe,
        layout,
        pre_process=place.is_first_stage,
        post_process=place.is_last_stage,
        recompute=recompute,
    )
    train_only(model, train)
    (wrapped,) = wrap([model], model.config, overlap_grad_reduce=overlap)
    if overlap:
        # Megatron-Core learns from a first batch what to wait for: here another order, in which
        # ranks see images in other micro-batches than after it.
        propagate(wrapped, mine(place)[::-1])
    losses = propagate(wrapped, mine(place))
    gradients = {
        name: (gradient(parameter), getattr(parameter, "partition_dim", None))
        for name, parameter in global_parameters(model)
        if parameter.requires_grad
    }
    # A rank has its share alone of what others hold a copy of.
    gradients = {
        name: found
        for name, found in gradients.items()
        if (place.expert_dp_size if EXPERTS in name else place.dp_size) == 1
    }
    optimizer = build_optimizer([wrapped], OptimizerSettings(precision="fp32", clip=0))
    optimizer.prepare_grads()
    norms = gradient_norms(optimizer, [wrapped], by=str)
    return Part(losses, gradients, norms, float(optimizer.get_grad_norm()), place)


def gradient(parameter: Any) -> Tensor:
    """As Megatron-Core adds it up."""
    found: Tensor = parameter.main_grad.clone()
    return found


def propagate(wrapped: Any, data: list[Shown]) -> list[tuple[float, int]]:
    """A batch's gradients; its losses and counts of labels, on the last stage."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    losses: list[tuple[float, int]] = []
    wrapped.zero_grad_buffer()
    get_forward_backward_func()(
        forward_step_func=partial(forward, losses),
        data_iterator=iter(data),
        model=[wrapped],
        num_microbatches=len(data),
        seq_length=LENGTH,
        micro_batch_size=1,
        forward_only=False,
    )
    return losses


def mine(place: Ranks) -> list[Shown]:
    """This rank's micro-batches."""
    each = len(batch()) // place.dp_size
    return batch()[place.dp_rank * each : (place.dp_rank + 1) * each]


def forward(losses: list[tuple[float, int]], data: Any, chunk: Any) -> tuple[Tensor, Any]:
    """A micro-batch's loss, for Megatron-Core's schedules."""
    from trainer.models.segments import pack

    one = next(data)
    total = chunk(
        one.tokens, one.labels, pack(one.cu_seqlens, LENGTH), reduction="sum", images=one.images
    )

    def loss(found: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        count = (one.labels != -100).sum()
        losses.append((float(found.detach()), int(count)))
        return found, count.to(torch.int), {}

    return total, loss


def trained(recipe: ModelRecipe, layout: Layout, train: Sequence[str]) -> dict[str, bool]:
    """Takes a step; of each parameter that this rank holds whether it changed.

    Raises AssertionError where what changed has no state in the optimizer, or what has one did not.
    """
    from trainer.models.names import global_parameters

    place = start(layout, 7)
    ends = {"pre_process": place.is_first_stage, "post_process": place.is_last_stage}
    model = build(recipe, layout, **ends)
    train_only(model, train)
    before = {name: p.detach().clone() for name, p in global_parameters(model)}
    (wrapped,) = wrap([model], model.config)
    optimizer = build_optimizer([wrapped], OptimizerSettings(precision="fp32"))
    set_rate(optimizer, 1e-3)
    propagate(wrapped, mine(place))
    take_step(optimizer)
    states = sum(
        state["exp_avg"].numel()
        for inner in optimizer.chained_optimizers
        if not inner.is_stub_optimizer
        for state in inner.optimizer.state.values()
    )
    assert states == sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {name: not torch.equal(before[name], p) for name, p in global_parameters(model)}
