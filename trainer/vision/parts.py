"""Which parts of a model a stage trains."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import nn

Part = Literal["vision", "projector", "language"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The tower; the projector with the newline; embedding, blocks and head."""

_PREFIXES: dict[str, Part] = {"vision_tower.": "vision", "projector.": "projector"}


def part_of(name: str) -> Part:
    """The part that a parameter belongs to, by its name in the model or its global name."""
    return next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)), "language")


def train_only(model: nn.Module, train: Collection[str]) -> None:
    """Freeze every parameter of a model's other parts: no gradient, no state of an optimizer.

    Call it on each rank before the model is wrapped and its optimizer is made. Gradients go on
    through what is frozen to what is not.

    Raises:
        ValueError: for no part, a part that there is none of, or one that the model has not.
    """
    unknown = sorted(set(train) - set(PARTS))
    if unknown or not train:
        raise ValueError(
            f"train: found {', '.join(unknown) or 'no part'}, expected some of {', '.join(PARTS)}"
        )
    recipe = getattr(getattr(model, "config", None), "recipe", None)
    if recipe is not None and recipe.vision is None and set(train) != {"language"}:
        raise ValueError(
            f"train: found {', '.join(sorted(train))}, expected only language: model {recipe.name} "
            "has no vision block"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in train)
