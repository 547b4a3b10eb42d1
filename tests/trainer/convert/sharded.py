"""A model that ranks share, of transformers' weights: its logits, and its gradients of a step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.trainer.judges import LENGTH, VOCAB, build
from tests.trainer.models.step import MicroBatch, Part, step
from trainer.convert import import_model
from trainer.megatron.start import Layout, Ranks, start
from trainer.models.recipe import ModelRecipe

SEQUENCES, AT_ONCE = 4, 1
"""Sequences of the batch, and of a micro-batch: more of these than pipeline stages."""

SEED = 251
"""Of the batch's tokens: one whose routers decide nothing closely (``margins.MARGIN``)."""


@dataclass
class Answer:
    """What one rank says of a model: its part of the logits, and of a step.

    Attributes:
        logits: ``[T, V/tp]`` of its sequences, of the last stage.
        part: losses, gradients, routing.
    """

    logits: Tensor | None
    part: Part


def batch() -> tuple[Tensor, Tensor]:
    """Tokens and labels of all sequences, int64 ``[SEQUENCES, LENGTH]``."""
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(VOCAB, (SEQUENCES, LENGTH), generator=generator)
    labels = tokens.roll(-1, 1)
    labels[:, -1] = -100
    labels[1, 5:14] = -100
    return tokens, labels


def answers(recipes: list[ModelRecipe], layout: Layout, folders: list[Path]) -> list[Answer]:
    """What this rank says of each recipe with the weights in its folder."""
    place = start(layout, 7)
    return [_answer(recipe, place, folder) for recipe, folder in zip(recipes, folders, strict=True)]


def _answer(recipe: ModelRecipe, place: Ranks, folder: Path) -> Answer:
    model = build(
        recipe, place.layout, pre_process=place.is_first_stage, post_process=place.is_last_stage
    )
    import_model(folder, model, recipe)
    each = SEQUENCES // place.dp_size
    data: list[MicroBatch] = []
    tokens, labels = batch()
    for first in range(place.dp_rank * each, (place.dp_rank + 1) * each, AT_ONCE):
        here = slice(first, first + AT_ONCE)
        ends = torch.arange(0, (AT_ONCE + 1) * LENGTH, LENGTH, dtype=torch.int32)
        data.append((tokens[here].flatten(), labels[here].flatten(), ends))
    return Answer(_logits(model, data), step(model, data, place))


@torch.no_grad()
def _logits(model: Any, data: list[MicroBatch]) -> Tensor | None:
    """Through Megatron-Core's schedule, forward alone."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    def keep(out: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.zeros(()), {"logits": out.detach()}

    def forward(data: Any, chunk: Any) -> tuple[Tensor, Any]:
        return chunk(next(data)[0]), keep

    found = get_forward_backward_func()(
        forward_step_func=forward,
        data_iterator=iter(data),
        model=[model],
        num_microbatches=len(data),
        seq_length=AT_ONCE * LENGTH,
        micro_batch_size=1,
        forward_only=True,
    )
    return torch.cat([one["logits"] for one in found]) if found else None


def whole_logits(found: list[Answer]) -> Tensor:
    """``[SEQUENCES · LENGTH, VOCAB]`` of what the ranks have."""
    rows: dict[int, dict[int, Tensor]] = {}
    for answer in found:
        if answer.logits is not None:
            place = answer.part.place
            rows.setdefault(place.dp_rank, {})[place.tp_rank] = answer.logits
    parts = [torch.cat([row[rank] for rank in sorted(row)], 1) for _, row in sorted(rows.items())]
    return torch.cat(parts)[:, :VOCAB]
