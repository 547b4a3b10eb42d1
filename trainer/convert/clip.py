"""A trained CLIP vision transformer, as transformers saves it, into a model's tower."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.convert.config import FILE
from trainer.convert.errors import ConversionError
from trainer.convert.fields import Fields
from trainer.convert.layouts import megatron
from trainer.convert.models import config_of, local_parameters, this_place
from trainer.convert.ranks import cut
from trainer.convert.reader import Checkpoint
from trainer.convert.vision_config import tower_of
from trainer.convert.vision_names import TOWER, tower_parameters
from trainer.vision.positions import resized_positions
from trainer.vision.recipe import VisionRecipe

_STEMS = ("vision_model", TOWER, "")
"""What the tower's keys begin with: of CLIPModel and CLIPVisionModel, of a model that has one as
its tower, and in transformers 5 of CLIPVisionModel in memory."""
_NOT_COMPARED = {"tiling", "image_token"}
_POSITIONS = "vision_tower.position_embedding"


def read_clip_config(folder: Path) -> VisionRecipe:
    """The tower that a folder's ``config.json`` describes: of CLIP as a whole, or of its tower.

    Raises ConversionError naming the file and the key.
    """
    return tower_of(*_read_config(folder))


def _read_config(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The tower's configuration, and where it stands."""
    file = folder / FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConversionError(
            f"{file}: found no such file, expected CLIP's configuration"
        ) from None
    except ValueError as error:
        raise ConversionError(f"{file}: found no JSON ({error}), expected an object") from error
    if not isinstance(config, dict):
        raise ConversionError(f"{file}: found {type(config).__name__}, expected an object")
    if config.get("model_type") == "clip":
        config = config.get("vision_config")
        if not isinstance(config, dict):
            raise ConversionError(f"{file}: found no vision_config, expected CLIP's tower")
        return config, f"{file}, vision_config"
    return config, str(file)


def import_clip(folder: Path, model: nn.Module | Sequence[nn.Module]) -> None:
    """Read a CLIP's vision transformer into a model's tower; every rank reads its own part.

    Its norm behind the blocks, its projection and its text transformer are not read: nothing here
    uses them. Weights of another dtype are rounded to the model's. The activation is the
    checkpoint's (``quick_gelu`` for OpenAI's), so the model's recipe has to say the same. Tiles may
    be of another size than the images that it was trained on, patches not: the positions are then
    interpolated (``trainer.vision.positions``), and are to be trained on.

    Raises ConversionError where the folder is of another tower than the model's, or a tensor is
    missing or of another shape.
    """
    recipe = config_of(model).recipe
    if recipe.vision is None:
        raise ConversionError(f"model {recipe.name}: found no vision block, expected a tower")
    config, source = _read_config(folder)
    side = _side(Fields(config, source))
    # The size of its images matters for positions alone: for the rest they are of the model's.
    theirs = tower_of({**config, "image_size": recipe.vision.tile}, source)
    _check_same(recipe.vision, theirs, folder)
    local, place, checkpoint = local_parameters(model), this_place(), Checkpoint(folder)
    stem = _stem(checkpoint)

    def read(key: str) -> Tensor:
        return checkpoint.read(stem + _bare(key))

    with torch.no_grad():
        for parameter in tower_parameters(recipe.vision):
            if parameter.name not in local:
                continue  # a later stage has no tower
            positions = parameter.name == _POSITIONS
            for key, shape in parameter.keys.items():
                expected = (side**2 + 1, *shape[1:]) if positions else shape
                _check_shape(checkpoint, stem + _bare(key), expected)
            whole = megatron(parameter, read, recipe)
            if positions:
                whole = resized_positions(whole, recipe.vision.side)
            local[parameter.name].copy_(cut(parameter, whole, *place.part_of(parameter)))


def _side(fields: Fields) -> int:
    """Patches along a side of the images that a CLIP was trained on."""
    size, patch = fields.get("image_size", int), fields.get("patch_size", int)
    if not 1 <= patch <= size:
        raise fields.wrong("image_size", f"at least patch_size, which is {patch}, above 0")
    return size // patch


def _check_same(ours: VisionRecipe, found: VisionRecipe, folder: Path) -> None:
    mine, theirs = (one.model_dump(exclude=_NOT_COMPARED) for one in (ours, found))
    if wrong := [f"{k} {theirs[k]!r}, expected {v!r}" for k, v in mine.items() if theirs[k] != v]:
        raise ConversionError(
            f"{folder}: found {'; '.join(wrong)}, as the model's vision block has; say the same "
            "there"
        )


def _stem(checkpoint: Checkpoint) -> str:
    last = "embeddings.class_embedding"
    stems = [f"{stem}." if stem else "" for stem in _STEMS]
    keys = set(checkpoint.keys())
    for stem in stems:
        if f"{stem}{last}" in keys:
            return stem
    raise ConversionError(
        f"{checkpoint.source}: found no key {stems[0]}{last}, expected CLIP's vision transformer"
    )


def _bare(key: str) -> str:
    return key.removeprefix(f"{TOWER}.")


def _check_shape(checkpoint: Checkpoint, key: str, shape: tuple[int, ...]) -> None:
    found = checkpoint.shape(key)
    if found != shape:
        raise ConversionError(
            f"{checkpoint.source}, {key}: found {'none' if found is None else list(found)}, "
            f"expected {list(shape)}"
        )
