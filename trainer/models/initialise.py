"""Draws a model's first weights, the same whatever the layout and the device.

MiniMax-01 initialises all weights by Xavier, with DeepNorm's α and β = (8N)^-¼ (arXiv:2501.08313,
section 4.2). Where β goes is not printed. DeepNorm (arXiv:2203.00555, figure 2) scales feed-forward
weights and the value and output projections by it, here from memory; so it is placed on v, the
output projections and the experts, and on the gate of lightning attention, a choice of ours.
Xavier's fans are those of the matrix that a formula names, not of tensors in which several lie
fused. Each module says its own deviations (``deviations()``); see :mod:`.deviations`. A vision
tower says CLIP's.
"""

from __future__ import annotations

import hashlib

import torch
from megatron.core.tensor_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    set_tensor_model_parallel_attributes,
)
from megatron.core.utils import get_pg_rank, get_pg_size
from torch import Tensor, nn

from trainer.models.experts import GroupedExperts
from trainer.models.language_model import LanguageModel
from trainer.models.names import global_name

BLOCK = 1024
"""Rows that are drawn from one seed: a rank draws the blocks in which its rows lie."""


def mark_partitions(model: nn.Module) -> None:
    """Says on each weight along which dimension tensor parallelism cuts it.

    Megatron-Core does so where it draws weights, which it does not here, and reads it where it
    sums norms of gradients.
    """
    for module in model.modules():
        if isinstance(module, ColumnParallelLinear | VocabParallelEmbedding):
            set_tensor_model_parallel_attributes(module.weight, True, 0, 1)
        elif isinstance(module, RowParallelLinear):
            set_tensor_model_parallel_attributes(module.weight, True, 1, 1)


@torch.no_grad()
def initialise(model: LanguageModel, seed: int) -> None:
    """Draws every parameter: normal with its deviation, or ones for gains.

    Numbers are a function of the seed, the parameter's global name (and the expert), the row and
    the column, drawn on the CPU in fp32 and rounded to the parameter's dtype.

    Raises:
        ValueError: for a parameter of which no module says its deviation.
    """
    left = {name for name, _ in model.named_parameters()}
    for path, module in model.named_modules():
        if not hasattr(module, "deviations"):
            continue
        for name, deviation in module.deviations().items():
            local = f"{path}.{name}" if path else name
            parameter = module.get_parameter(name)
            left.discard(local)
            if deviation is None:
                parameter.fill_(1.0)
            elif isinstance(deviation, float) and deviation == 0:
                parameter.zero_()
            else:
                _draw(model, f"{seed}/{global_name(model, local)}", parameter, deviation, module)
    if left:
        raise ValueError(
            f"found no deviation for {', '.join(sorted(left))}, expected the module to say one in "
            "deviations()"
        )


def _draw(
    model: LanguageModel,
    key: str,
    parameter: nn.Parameter,
    deviation: float | Tensor,
    module: nn.Module,
) -> None:
    if isinstance(module, GroupedExperts):
        assert isinstance(deviation, float)
        first = get_pg_rank(module.ep_group) * parameter.shape[0]
        for index, weight in enumerate(parameter):
            rows, columns = weight.shape
            drawn = _normal(f"{key}/{first + index}", 0, rows, columns)
            weight.copy_(drawn.mul_(deviation))
        return
    group = model.pg_collection.tp
    dimension = getattr(parameter, "partition_dim", None)
    # Biases are a column, and the filters of patches a row each.
    weight = parameter.view(len(parameter), -1)
    rows, columns = weight.shape
    ranks, rank = get_pg_size(group), get_pg_rank(group)
    start = rank * rows if dimension == 0 else 0
    width = columns * ranks if dimension == 1 else columns
    drawn = _normal(key, start, start + rows, width)
    if dimension == 1:
        drawn = drawn[:, rank * columns : (rank + 1) * columns]
    if isinstance(deviation, Tensor):
        drawn *= deviation[start : start + rows, None].to(drawn)
    else:
        drawn *= deviation
    weight.copy_(drawn)


def _normal(key: str, start: int, end: int, columns: int) -> Tensor:
    """Rows ``start`` to ``end`` of an endless fp32 matrix of standard normals with this key."""
    parts = []
    for block in range(start // BLOCK, -(-end // BLOCK)):
        digest = hashlib.blake2b(f"{key}/{block}".encode(), digest_size=8).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big") >> 1)
        drawn = torch.randn(BLOCK, columns, generator=generator, device="cpu")
        first = block * BLOCK
        parts.append(drawn[max(start - first, 0) : min(end - first, BLOCK)])
    return torch.cat(parts)
