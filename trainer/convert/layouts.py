"""One Megatron-Core tensor as released tensors, and back: what moves, bit for bit.

same          one tensor
vocabulary    one tensor; Megatron-Core pads its rows, the released layout has none
grouped_qkv   softmax layers: Megatron-Core lays q, k, v of each key-value group one after another,
              ``[kv_heads, (heads/kv_heads + 2) · d, h]``; released are q, k and v apart
vision_qkv    weight or bias of a vision tower's attention, ``[heads, 3 · d, …]``, of each head q, k
              and v; released are q, k and v apart
gate_up       ``[E, 2F, h]``, gate rows first; released are w1 and w3 ``[F, h]`` of each expert
down          ``[E, h, F]``; released is w2 ``[h, F]`` of each expert
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trainer.convert.parameter import Parameter
from trainer.models.recipe import ModelRecipe

Read = Callable[[str], Tensor]
"""The tensor under a released key."""


def released(
    parameter: Parameter, whole: Tensor, recipe: ModelRecipe
) -> Iterator[tuple[str, Tensor]]:
    """The released keys and tensors of a whole parameter: views of it where its layout allows."""
    keys = list(parameter.keys)
    if parameter.form == "vocabulary":
        yield keys[0], whole[: parameter.shape[0]]
    elif parameter.form == "grouped_qkv":
        groups = torch.unflatten(whole, 0, (recipe.kv_heads, -1, recipe.head_dim))
        for key, part in zip(keys, (groups[:, :-2], groups[:, -2], groups[:, -1]), strict=True):
            yield key, part.reshape(-1, whole.shape[1])
    elif parameter.form == "vision_qkv":
        heads = torch.unflatten(whole, 0, (_vision_heads(recipe), 3, -1))
        for key, part in zip(keys, heads.unbind(1), strict=True):
            yield key, part.flatten(0, 1)
    elif parameter.form == "gate_up":
        yield from zip(keys, torch.unflatten(whole, 1, (2, -1)).flatten(0, 1), strict=True)
    elif parameter.form == "down":
        yield from zip(keys, whole, strict=True)
    else:
        yield keys[0], whole


def megatron(
    parameter: Parameter,
    read: Read,
    recipe: ModelRecipe,
    *,
    vocab_rows: int | None = None,
    experts: range | None = None,
) -> Tensor:
    """The Megatron-Core tensor of a parameter from its released ones.

    Args:
        parameter: which one.
        read: gives the released tensors; called for those that are needed and no other.
        recipe: the model's.
        vocab_rows: rows of the padded vocabulary, ``>= shape[0]``: those beyond are zeros.
        experts: which experts to read; all of them by default.
    """
    keys = list(parameter.keys)
    if parameter.form == "vocabulary":
        tensor = read(keys[0])
        padding = 0 if vocab_rows is None else vocab_rows - len(tensor)
        return (
            torch.cat([tensor, tensor.new_zeros(padding, tensor.shape[1])]) if padding else tensor
        )
    if parameter.form == "grouped_qkv":
        parts = [torch.unflatten(read(key), 0, (recipe.kv_heads, -1)) for key in keys]
        return torch.cat(parts, 1).flatten(0, 1)
    if parameter.form == "vision_qkv":
        heads = [torch.unflatten(read(key), 0, (_vision_heads(recipe), -1)) for key in keys]
        return torch.stack(heads, 1).flatten(0, 2)
    if parameter.split == "experts":
        chosen = range(parameter.shape[0]) if experts is None else experts
        each = len(keys) // parameter.shape[0]
        first = read(keys[chosen.start * each])
        whole = first.new_empty(len(chosen), *parameter.shape[1:])
        # Filled in place: of the experts' tensors only one is held beside the whole.
        for place, key in enumerate(keys[chosen.start * each : chosen.stop * each]):
            torch.unflatten(whole[place // each], 0, (each, -1))[place % each] = (
                read(key) if place else first
            )
        return whole
    return read(keys[0])


def _vision_heads(recipe: ModelRecipe) -> int:
    assert recipe.vision is not None  # a parameter of this form is of such a recipe
    return recipe.vision.heads
