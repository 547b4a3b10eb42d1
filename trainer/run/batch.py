"""One global batch through the model: losses, gradients, and what the routers did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.megatron.start import Ranks
from trainer.models.load import take_loads
from trainer.models.segments import pack
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
    def first_sequence(self) -> int: ...
    @property
    def sequences(self) -> int: ...
    @property
    def skipped(self) -> tuple[int, ...]: ...
    @property
    def images(self) -> Images | None: ...


class Routed(NamedTuple):
    """What the routers did in a step, over all ranks: int64 ``[layers, E]`` and fp64 ``[layers]``.

    ``aux`` is the mean over sequences of each layer's auxiliary loss. Sequences that were skipped
    are not counted.
    """

    slots: Tensor
    dropped: Tensor
    aux: Tensor


class BatchResult(NamedTuple):
    """The mean loss of the labels of a global batch, their number, and the routers' work.

    The loss is NaN where there is no label. ``tiles`` and ``features`` are those of all images,
    the latter without newlines.
    """

    loss: float
    labels: int
    routed: Routed
    tiles: int = 0
    features: int = 0


def run_batch(
    chunks: Sequence[Any],
    batches: Sequence[MicroBatch],
    *,
    ranks: Ranks,
    layers: int,
    train: bool,
) -> BatchResult:
    """Forward, and backward if ``train``, over this rank's micro-batches; all ranks call it.

    Gradients are left reduced and divided by the number of labels of the whole batch.
    """
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
        found = get_forward_backward_func()(
            forward_step_func=partial(_forward, device=ranks.device),
            data_iterator=data if len(chunks) > 1 else data[0],
            model=list(chunks),
            num_microbatches=len(batches),
            seq_length=longest.pop(),
            micro_batch_size=1,
            forward_only=not train,
        )
    sums = torch.zeros(4, dtype=torch.float64, device=ranks.device)
    if ranks.is_last_stage and ranks.tp_rank == 0:
        for one in found:
            sums[:2] += one["loss"].to(sums.dtype)
        sums[2:] = torch.tensor(_shown(batches), dtype=sums.dtype)
    dist.all_reduce(sums)
    total, labels, tiles, features = sums.tolist()
    loss = total / labels if labels else math.nan
    return BatchResult(loss, int(labels), _routed(chunks, ranks, layers), int(tiles), int(features))


def _shown(batches: Sequence[MicroBatch]) -> tuple[int, int]:
    """Tiles, and features without newlines, of the images of micro-batches."""
    plans = [plan for batch in batches if batch.images is not None for plan in batch.images.plans]
    return sum(len(p.tiles) for p in plans), sum(p.tokens - p.newlines for p in plans)


def _forward(
    iterator: Iterator[MicroBatch], model: Any, *, device: torch.device
) -> tuple[Tensor, Any]:
    batch = next(iterator)
    tokens, labels, cu_seqlens = (
        x.to(device, non_blocking=True) for x in (batch.tokens, batch.labels, batch.cu_seqlens)
    )
    packed = pack(cu_seqlens, batch.max_seqlen, _absent(batch, device))
    out = model(
        tokens, labels=labels, packed_seq_params=packed, reduction="sum", images=batch.images
    )
    return out, partial(_loss, labels)


def _absent(batch: MicroBatch, device: torch.device) -> Tensor | None:
    """Which sequences were skipped, bool ``[sequences]``; None where none was."""
    if not batch.skipped:
        return None
    numbers = range(batch.first_sequence, batch.first_sequence + batch.sequences)
    return torch.tensor([number in batch.skipped for number in numbers], device=device)


def _loss(labels: Tensor, total: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The sum of the losses, how many there are, and both for the log."""
    count = (labels != -100).sum()
    logged = torch.stack([total.detach(), count.to(total.dtype)])
    return total, count.to(torch.int), {"loss": logged}


def _routed(chunks: Sequence[Any], ranks: Ranks, layers: int) -> Routed:
    """Counts of all layers, of the tensor-parallel group's first rank where all count the same."""
    loads = take_loads(chunks)
    experts = loads.slots.shape[1]
    numbers = torch.zeros(layers, 2 * experts + 2, dtype=torch.float64, device=ranks.device)
    if ranks.tp_rank == 0:
        # Ranks may have skipped different numbers of sequences: the mean is over all of them.
        count = loads.sequences.to(numbers)[:, None]
        total = loads.aux.to(numbers)[:, None] * count
        numbers[loads.layers] = torch.cat([loads.slots, loads.dropped, total, count], 1)
    dist.all_reduce(numbers)
    slots, dropped, total, count = torch.split(numbers.cpu(), [experts, experts, 1, 1], 1)
    return Routed(slots.long(), dropped.long(), (total / count.clamp_min(1))[:, 0])
