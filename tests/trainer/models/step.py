"""One training step's loss, gradients and routing on a layout of ranks, and their whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.trainer.margins import Margin, margins
from tests.trainer.models.small import LENGTH, build, cuts, tokens
from trainer.megatron.start import Layout, Ranks, start
from trainer.models.recipe import ModelRecipe

SEQUENCES, AT_ONCE = 8, 2
"""Sequences of the global batch, and of a micro-batch."""

SEED = 105
"""Of the batch's tokens: one whose routers decide nothing closely (``margins.MARGIN``)."""

MicroBatch = tuple[Tensor, Tensor, Tensor]
"""Tokens and labels, int64 ``[T]``, and int32 boundaries of segments."""


@dataclass
class Gradient:
    """What one rank has of a parameter's gradient, once the batch is over.

    Attributes:
        shape: of what this rank has of the parameter.
        dimension: which is cut over tensor-parallel ranks.
        shard: of the flat gradient: where it begins, and its values. Other data-parallel ranks have
            the rest.
    """

    shape: torch.Size
    dimension: int | None
    shard: tuple[int, Tensor]


@dataclass
class Part:
    """What one rank has of a step.

    Attributes:
        losses: of the last stage, the sum and the number of labels of each micro-batch.
        gradients: by global name; none of a parameter of which other ranks have every shard.
        norm: of all gradients, as the optimizer's step returns it on this rank.
        routing: by layer, the choices ``[t, k]`` of each micro-batch.
        margin: how close these choices were.
    """

    losses: list[tuple[float, int]]
    gradients: dict[str, Gradient]
    norm: float
    routing: dict[int, list[Tensor]]
    margin: Margin
    place: Ranks


def batch(dp_rank: int, dp_size: int) -> list[MicroBatch]:
    """This rank's micro-batches."""
    whole, each = tokens(SEQUENCES, SEED), SEQUENCES // dp_size
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
    data = batch(place.dp_rank, place.dp_size)
    ends = {"pre_process": place.is_first_stage, "post_process": place.is_last_stage}
    return [
        step(build(recipe, layout, recompute=recompute, **ends), data, place) for recipe in recipes
    ]


def step(model: Any, data: Sequence[MicroBatch], place: Ranks) -> Part:
    """A step as a run takes it: Megatron-Core's schedules, DDP and distributed optimizer."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    from trainer.megatron.optimizer import OptimizerSettings, build_optimizer, set_rate, wrap
    from trainer.megatron.optimizer import step as take_step
    from trainer.models.router import Router
    from trainer.models.segments import pack

    length = model.config.sequence_tokens
    routing: dict[int, list[Tensor]] = defaultdict(list)
    for module in model.modules():
        if isinstance(module, Router):
            module.register_forward_hook(
                lambda router, _, out: routing[router.layer_number - 1].append(out[0])
            )
    chunks = wrap([model], model.config)
    optimizer = build_optimizer(chunks, OptimizerSettings(precision="fp32"))
    losses: list[tuple[float, int]] = []

    def loss(labels: Tensor, total: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        count = (labels != -100).sum()
        losses.append((float(total.detach()), int(count)))
        return total, count.to(torch.int), {}

    def forward(data: Any, chunk: Any) -> tuple[Tensor, Any]:
        ids, labels, cu_seqlens = next(data)
        total = chunk(ids, labels, pack(cu_seqlens, length), reduction="sum")
        return total, partial(loss, labels)

    chunks[0].zero_grad_buffer()
    with margins() as margin:
        get_forward_backward_func()(
            forward_step_func=forward,
            data_iterator=iter(data),
            model=chunks,
            num_microbatches=len(data),
            seq_length=data[0][0].numel(),
            micro_batch_size=1,
            forward_only=False,
        )
    gradients = dict(_gradients(model, optimizer))
    set_rate(optimizer, 1e-3)
    return Part(losses, gradients, take_step(optimizer), dict(routing), margin, place)


def _gradients(model: Any, optimizer: Any) -> Iterator[tuple[str, Gradient]]:
    """The shards that this rank's optimizer updates parameters by, of the reduced gradients."""
    from trainer.models.names import global_parameters

    names = {parameter: name for name, parameter in global_parameters(model)}
    whole = [inner for inner in optimizer.chained_optimizers if not inner.is_stub_optimizer]
    buckets = [
        bucket
        for inner in whole
        for ranges in inner.gbuf_ranges
        for found in ranges.values()
        for bucket in found
    ]
    for bucket in buckets:
        for parameter, where in bucket["param_map"].items():
            here = where["param"]
            values = parameter.main_grad.view(-1)[here.start : here.end].clone()
            dimension = getattr(parameter, "partition_dim", None)
            yield names[parameter], Gradient(parameter.shape, dimension, (here.start, values))


@dataclass
class Whole:
    """A step: its mean loss; its gradients, by name, and their norm, as each rank has it; its
    choices ``[tokens, k]``, by layer, and the closest of them."""

    loss: float
    gradients: dict[str, Tensor]
    norms: list[float]
    routing: dict[int, Tensor]
    margin: Margin


def whole(parts: list[Part]) -> Whole:
    """Puts together what the ranks have."""
    last = [p for p in parts if p.place.is_last_stage and p.place.tp_rank == 0]
    sums = [pair for part in last for pair in part.losses]
    names = sorted({name for part in parts for name in part.gradients})
    gradients = {name: _whole_gradient(name, parts) for name in names}
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
    closest = Margin(*(min(getattr(p.margin, x) for p in parts) for x in ("choices", "edges")))
    return Whole(
        sum(loss for loss, _ in sums) / sum(count for _, count in sums),
        gradients, norms, routing, closest,
    )  # fmt: skip


def _whole_gradient(name: str, parts: list[Part]) -> Tensor:
    """Experts of all expert-parallel ranks, or the pieces of all tensor-parallel ones."""
    of_experts = ".mlp.experts." in name
    by_rank: dict[int, list[Gradient]] = defaultdict(list)
    for part in parts:
        if name in part.gradients:
            place = part.place
            by_rank[place.ep_rank if of_experts else place.tp_rank].append(part.gradients[name])
    pieces = [_joined(name, by_rank[rank]) for rank in sorted(by_rank)]
    dimension = 0 if of_experts else by_rank[0][0].dimension
    if dimension is not None:
        return torch.cat(pieces, dimension)
    assert all(torch.equal(pieces[0], piece) for piece in pieces), f"{name}: ranks differ"
    return pieces[0]


def _joined(name: str, shards: list[Gradient]) -> Tensor:
    """A rank's gradient from the shards of its data-parallel ranks: each value of one of them."""
    flat = torch.full((shards[0].shape.numel(),), torch.nan)
    for shard in shards:
        start, values = shard.shard
        here = flat[start : start + len(values)]
        assert here.isnan().all(), f"{name}: found a value on two ranks, expected it on one"
        here.copy_(values)
    assert not flat.isnan().any(), f"{name}: found a value on no rank, or NaN"
    return flat.view(shards[0].shape)
