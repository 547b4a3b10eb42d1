"""One training step's loss, gradients and routing on a layout of ranks, and their whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.trainer.models.small import LENGTH, build, cuts, tokens
from trainer.megatron.start import Layout, Ranks, start
from trainer.models.recipe import ModelRecipe

SEQUENCES, AT_ONCE = 8, 2
"""Sequences of the global batch, and of a micro-batch."""


@dataclass
class Part:
    """What one rank has of a step.

    Attributes:
        losses: of the last stage, the sum and the number of labels of each micro-batch.
        gradients: by global name, with the dimension that is cut over tensor-parallel ranks.
        norm: of all gradients, as Megatron-Core's optimizer finds it on this rank.
        routing: by layer, the choices ``[t, k]`` of each micro-batch.
    """

    losses: list[tuple[float, int]]
    gradients: dict[str, tuple[Tensor, int | None]]
    norm: float
    routing: dict[int, list[Tensor]]
    place: Ranks


def batch(dp_rank: int, dp_size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Tokens, labels and boundaries of this rank's micro-batches."""
    whole, each = tokens(SEQUENCES), SEQUENCES // dp_size
    labels = whole.roll(-1)
    labels[LENGTH - 1 :: LENGTH] = -100
    labels[40:47] = -100
    found = []
    for first in range(dp_rank * each, (dp_rank + 1) * each, AT_ONCE):
        here = slice(first * LENGTH, (first + AT_ONCE) * LENGTH)
        found.append((whole[here], labels[here], cuts(AT_ONCE)))
    return found


def run(recipes: Sequence[ModelRecipe], layout: Layout, recompute: bool = False) -> list[Part]:
    """A step of each model on this rank."""
    place = start(layout, 7)
    return [step(recipe, layout, recompute, place) for recipe in recipes]


def step(recipe: ModelRecipe, layout: Layout, recompute: bool, place: Ranks) -> Part:
    """Forward, backward and the reduction of gradients, by Megatron-Core's schedules and DDP."""
    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        finalize_model_grads,
    )
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.pipeline_parallel import get_forward_backward_func

    from trainer.models.names import global_parameters
    from trainer.models.router import Router
    from trainer.models.segments import pack

    model = build(
        recipe,
        layout,
        pre_process=place.is_first_stage,
        post_process=place.is_last_stage,
        recompute=recompute,
    )
    routing: dict[int, list[Tensor]] = defaultdict(list)
    for module in model.modules():
        if isinstance(module, Router):
            module.register_forward_hook(
                lambda router, _, out: routing[router.layer_number - 1].append(out[0])
            )
    settings = DistributedDataParallelConfig(grad_reduce_in_fp32=True)
    wrapped = DistributedDataParallel(model.config, settings, model)
    model.config.finalize_model_grads_func = finalize_model_grads
    losses: list[tuple[float, int]] = []

    def loss(labels: Tensor, out: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        count = (labels != -100).sum()
        total = out.sum()
        losses.append((float(total), int(count)))
        return total, count.to(torch.int), {}

    def forward(data: Any, chunk: Any) -> tuple[Tensor, Any]:
        ids, labels, cu_seqlens = next(data)
        out = chunk(ids, labels, pack(cu_seqlens, LENGTH))
        return out, partial(loss, labels)

    data = batch(place.dp_rank, place.dp_size)
    wrapped.zero_grad_buffer()
    get_forward_backward_func()(
        forward_step_func=forward,
        data_iterator=iter(data),
        model=[wrapped],
        num_microbatches=len(data),
        seq_length=AT_ONCE * LENGTH,
        micro_batch_size=1,
        forward_only=False,
    )
    gradients = {
        name: (_gradient(parameter), getattr(parameter, "partition_dim", None))
        for name, parameter in global_parameters(model)
    }
    optimizer = get_megatron_optimizer(OptimizerConfig(lr=1e-3), [wrapped])
    optimizer.prepare_grads()
    return Part(losses, gradients, float(optimizer.get_grad_norm()), dict(routing), place)


def _gradient(parameter: Any) -> Tensor:
    found: Tensor = parameter.main_grad.clone()
    return found


@dataclass
class Whole:
    """A step: its mean loss; its gradients, by name, and their norm, as each rank has it; its
    choices ``[tokens, k]``, by layer."""

    loss: float
    gradients: dict[str, Tensor]
    norms: list[float]
    routing: dict[int, Tensor]


def whole(parts: list[Part]) -> Whole:
    """Puts together what the ranks have."""
    last = [p for p in parts if p.place.is_last_stage and p.place.tp_rank == 0]
    sums = [pair for part in last for pair in part.losses]
    gradients: dict[str, Tensor] = {}
    for name in {name for part in parts for name in part.gradients}:
        having = [part for part in parts if name in part.gradients]
        if ".mlp.experts." in name:
            by_rank = {part.place.ep_rank: part.gradients[name][0] for part in having}
            gradients[name] = torch.cat([by_rank[rank] for rank in sorted(by_rank)])
            continue
        by_rank = {part.place.tp_rank: part.gradients[name][0] for part in having}
        dimension = having[0].gradients[name][1]
        if dimension is None:
            gradients[name] = by_rank[0]
            assert all(torch.equal(by_rank[0], found) for found in by_rank.values()), name
        else:
            gradients[name] = torch.cat([by_rank[rank] for rank in sorted(by_rank)], dimension)
    routing: dict[int, Tensor] = {}
    for layer in sorted({layer for part in parts for layer in part.routing}):
        having = sorted(
            (part for part in parts if layer in part.routing),
            key=lambda part: (part.place.dp_rank, part.place.tp_rank),
        )
        groups: dict[int, list[list[Tensor]]] = defaultdict(list)
        for part in having:
            groups[part.place.dp_rank].append(part.routing[layer])
        routing[layer] = torch.cat(
            [torch.cat(pieces) for group in groups.values() for pieces in zip(*group, strict=True)]
        )
    norms = [part.norm for part in parts]
    total = sum(loss for loss, _ in sums)
    return Whole(total / sum(count for _, count in sums), gradients, norms, routing)
