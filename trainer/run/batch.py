"""One global batch through the model: losses, gradients, and what the routers did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.megatron.start import Ranks
from trainer.models.load import take_loads
from trainer.models.segments import pack
from trainer.run.objective import NEXT_TOKEN, Objective
from trainer.vision.images import Images


class MicroBatch(Protocol):
    """Packed sequences laid end to end; see ``trainer.data.batches``."""

    @property
    def tokens(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def cu_seqlens(self) -> Tensor: ...
    @property
    def max_seqlen(self) -> int: ...
    @property
    def padding(self) -> Tensor | None: ...
    @property
    def first_sequence(self) -> int: ...
    @property
    def images(self) -> Images | None: ...


class Routed(NamedTuple):
    """What the routers did in a step, over all ranks: int64 ``[layers, E]`` and fp64 ``[layers]``.

    ``aux`` is the mean over tokens of each layer's auxiliary loss of their sequence. Padding, and
    so sequences that were skipped, are not counted.
    """

    slots: Tensor
    dropped: Tensor
    aux: Tensor


class BatchResult(NamedTuple):
    """The mean loss of a global batch, the number of its labels, and the routers' work.

    The loss is a mean over ``items``, labels or pairs, and NaN where there is none. ``tiles`` and
    ``features`` are those of all images, the latter without newlines. ``further`` are means over
    items that the objective tells.
    """

    loss: float
    labels: int
    routed: Routed
    tiles: int = 0
    features: int = 0
    items: int = 0
    further: Mapping[str, float] = MappingProxyType({})


def run_batch(
    chunks: Sequence[Any],
    batches: Sequence[MicroBatch],
    *,
    ranks: Ranks,
    layers: int,
    train: bool,
    objective: Objective = NEXT_TOKEN,
) -> BatchResult:
    """Forward, and backward if ``train``, over this rank's micro-batches; all ranks call it.

    Gradients are left reduced and divided by the objective's divisor over the whole batch.
    """
    found = through(chunks, batches, train=train, device=ranks.device, objective=objective)
    kept = 3 + len(objective.further)
    sums = torch.zeros(kept + 2, dtype=torch.float64, device=ranks.device)
    if ranks.is_last_stage and ranks.tp_rank == 0:
        for one in found:
            sums[:kept] += one["loss"]
    if ranks.is_first_stage and ranks.tp_rank == 0:  # a later stage has no images
        sums[kept:] = torch.tensor(_shown(batches), dtype=sums.dtype)
    dist.all_reduce(sums)
    total, items, labels, *further, tiles, features = sums.tolist()
    loss, *means = (value / items if items else math.nan for value in (total, *further))
    return BatchResult(
        loss,
        int(labels),
        _routed(chunks, ranks, layers),
        int(tiles),
        int(features),
        int(items),
        dict(zip(objective.further, means, strict=True)),
    )


def through(
    chunks: Sequence[Any],
    batches: Sequence[MicroBatch],
    *,
    train: bool,
    device: torch.device,
    objective: Objective,
) -> list[dict[str, Tensor]]:
    """Micro-batches through the model: of each ``loss``, its ``Lost.logged``; on the last stage."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    for chunk in chunks:
        chunk.train(train)
        if train:
            chunk.zero_grad_buffer()
    longest = {b.tokens.numel() for b in batches}
    if len(longest) != 1:
        raise ValueError(f"found micro-batches of {sorted(longest)} tokens, expected equal ones")
    data: list[Iterator[MicroBatch]] = [iter(batches) for _ in chunks]
    with torch.set_grad_enabled(train):
        found: list[dict[str, Tensor]] = get_forward_backward_func()(
            forward_step_func=partial(_forward, device=device, objective=objective),
            data_iterator=data if len(chunks) > 1 else data[0],
            model=list(chunks),
            num_microbatches=len(batches),
            seq_length=longest.pop(),
            micro_batch_size=1,
            forward_only=not train,
        )
    return found


def _shown(batches: Sequence[MicroBatch]) -> tuple[int, int]:
    """Tiles, and features without newlines, of the images of micro-batches."""
    plans = [plan for batch in batches if batch.images is not None for plan in batch.images.plans]
    return sum(len(p.tiles) for p in plans), sum(p.tokens - p.newlines for p in plans)


def _forward(
    iterator: Iterator[MicroBatch], model: Any, *, device: torch.device, objective: Objective
) -> tuple[Tensor, Any]:
    batch = next(iterator)
    tokens, labels, cu_seqlens = (
        x.to(device, non_blocking=True) for x in (batch.tokens, batch.labels, batch.cu_seqlens)
    )
    padding = batch.padding
    if padding is not None:
        padding = padding.to(device, non_blocking=True)
    packed = pack(cu_seqlens, batch.max_seqlen, padding)
    out = model(
        tokens,
        labels=labels,
        packed_seq_params=packed,
        reduction=objective.reduction,
        images=batch.images,
    )
    return out, partial(_loss, objective, batch, labels)


def _loss(
    objective: Objective, batch: MicroBatch, labels: Tensor, found: Tensor
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """As Megatron-Core's schedules take it: the sum, what it is divided by, and what is logged."""
    lost = objective.loss(batch, labels, found)
    return lost.total, lost.divisor, {"loss": lost.logged}


def _routed(chunks: Sequence[Any], ranks: Ranks, layers: int) -> Routed:
    """Counts of all layers, of the tensor-parallel group's first rank where all count the same."""
    loads = take_loads(chunks)
    experts = loads.slots.shape[1]
    numbers = torch.zeros(layers, 2 * experts + 2, dtype=torch.float64, device=ranks.device)
    if ranks.tp_rank == 0:
        # Ranks may have different numbers of tokens: the mean is over all of them.
        count = loads.tokens.to(numbers)[:, None]
        total = loads.aux.to(numbers)[:, None] * count
        numbers[loads.layers] = torch.cat([loads.slots, loads.dropped, total, count], 1)
    dist.all_reduce(numbers)
    slots, dropped, total, count = torch.split(numbers.cpu(), [experts, experts, 1, 1], 1)
    return Routed(slots.long(), dropped.long(), (total / count.clamp_min(1))[:, 0])
