"""Puts features of images into an embedded sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from megatron.core.tensor_parallel import copy_to_tensor_model_parallel_region
from megatron.core.utils import get_pg_rank
from torch import Tensor, nn

from trainer.vision.images import Images
from trainer.vision.pixels import upload
from vl_data.tiling import Plan, Tiling, plan

if TYPE_CHECKING:
    from trainer.vision.projector import Projector
    from trainer.vision.recipe import VisionRecipe
    from trainer.vision.tower import VisionTower


def features_of(tower: VisionTower, projector: Projector, images: Images | None) -> Tensor | None:
    """What a micro-batch's images put into its sequences, ``[F, h]``.

    Without an image the tower still runs, on one black tile whose features nobody takes: its
    weights have gradients (zeros) on every rank, and ranks that reduce them wait for nobody. None
    where no gradient is wanted of it either.
    """
    if images is not None and images.plans:
        weight = tower.patch_embedding
        shown = images.to(weight.device)
        found: Tensor = projector(tower(shown.normalised()), shown.plans)
        return found
    if not (torch.is_grad_enabled() and (_trains(tower) or _trains(projector))):
        return None
    found = projector(tower(_nothing(tower)), (_thumbnail_only(tower.vision),))
    return found[:0]


def merge(
    embedded: Tensor,
    tokens: Tensor,
    features: Tensor | None,
    *,
    image_token: int,
    group: Any,
    sequence_parallel: bool,
    places: Tensor | None = None,
) -> Tensor:
    """The embedded sequence with features, in order, at the places of the image's id.

    Args:
        embedded: ``[T, 1, h]``, or under sequence parallelism this rank's ``[T/tp, 1, h]``.
        tokens: int64 ``[T]``.
        features: ``[F, h]``, the same on every tensor-parallel rank, as :func:`features_of`.
        image_token: the id.
        group: of tensor-parallel ranks.
        sequence_parallel: whether each holds a part of the sequence.
        places: of the id, int64 ``[F]`` on the CPU. Without, they are read back from ``tokens``: on
            a GPU that waits for the device.

    Raises:
        ValueError: where places and features are not as many.
    """
    if places is None:
        places = (tokens == image_token).nonzero().squeeze(1)
    given = 0 if features is None else len(features)
    if len(places) != given:
        raise ValueError(
            f"images: found {len(places)} places of the image token {image_token} in the "
            f"sequences and {given} features (newlines included), expected as many; lay out each "
            "image with the tokens of its own plan (vl_data.tiling.plan), and cut none"
        )
    if features is None:
        return embedded
    if sequence_parallel:
        # Backward adds what the ranks' parts of the sequence make of the features' gradient.
        features = copy_to_tensor_model_parallel_region(features, group=group)
        start = get_pg_rank(group) * len(embedded)
        bounds = torch.tensor([start, start + len(embedded)], device=places.device)
        first, end = torch.searchsorted(places, bounds).tolist()
        places, features = places[first:end] - start, features[first:end]
    places = upload(places, embedded.device)
    return embedded.index_copy(0, places, features[:, None].to(embedded.dtype))


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _nothing(tower: VisionTower) -> Tensor:
    weight, vision = tower.patch_embedding, tower.vision
    return torch.zeros(
        1, weight.shape[1], vision.tile, vision.tile, dtype=weight.dtype, device=weight.device
    )


def _thumbnail_only(vision: VisionRecipe) -> Plan:
    """The plan of a tile by itself, whatever the tiling."""
    return plan(vision.tile, vision.tile, Tiling("one tile", vision.tile, vision.patch))
