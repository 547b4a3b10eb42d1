"""Every parameter of a vision tower and its projector, as ``names`` has those of the text model.

The released keys are those of MiniMax-VL-01's files, which are transformers' for CLIP's vision
transformer and for LLaVA's projector. Of the text model each key begins with ``language_model.``
there.
"""

from __future__ import annotations

from trainer.convert.parameter import Parameter, Split
from trainer.models.recipe import ModelRecipe
from trainer.vision.recipe import CHANNELS, VisionRecipe

TOWER = "vision_tower.vision_model"
PROJECTOR = "multi_modal_projector"
NEWLINE = "image_newline"


def vision_parameters(recipe: ModelRecipe) -> list[Parameter]:
    """In the model's order; none of a model of text."""
    vision = recipe.vision
    if vision is None:
        return []
    return [*tower_parameters(vision), *_projector(vision.hidden, recipe.hidden)]


def tower_parameters(vision: VisionRecipe) -> list[Parameter]:
    """Those of the tower, in the model's order."""
    h, patch = vision.hidden, vision.patch
    ours, theirs = "vision_tower", f"{TOWER}.embeddings"
    return [
        _one(f"{ours}.class_embedding", f"{theirs}.class_embedding", h),
        _one(
            f"{ours}.patch_embedding",
            f"{theirs}.patch_embedding.weight",
            h, CHANNELS, patch, patch,
        ),
        _one(
            f"{ours}.position_embedding",
            f"{theirs}.position_embedding.weight",
            vision.positions, h,
        ),
        # So it is spelled in CLIP's files.
        *_norm(f"{ours}.pre_layernorm", f"{TOWER}.pre_layrnorm", h),
        *[each for layer in range(vision.layers) for each in _block(vision, layer)],
    ]  # fmt: skip


def _projector(before: int, hidden: int) -> list[Parameter]:
    return [
        _one("projector.newline", NEWLINE, hidden),
        *_widening("projector.mlp.linear_fc1", f"{PROJECTOR}.linear_1", before, hidden),
        *_narrowing("projector.mlp.linear_fc2", f"{PROJECTOR}.linear_2", hidden, hidden),
    ]


def _block(vision: VisionRecipe, layer: int) -> list[Parameter]:
    h = vision.hidden
    ours, theirs = f"vision_tower.blocks.{layer}", f"{TOWER}.encoder.layers.{layer}"
    attention, projections = f"{ours}.self_attention", f"{theirs}.self_attn"
    qkv: list[Parameter] = []
    for kind, shape in (("weight", (h, h)), ("bias", (h,))):
        keys = {f"{projections}.{one}_proj.{kind}": shape for one in "qkv"}
        whole = (3 * h, *shape[1:])
        name = f"{attention}.linear_qkv.{kind}"
        qkv.append(Parameter(name, whole, "vision_qkv", "tensor_rows", keys))
    return [
        *_norm(f"{ours}.input_layernorm", f"{theirs}.layer_norm1", h),
        *qkv,
        *_narrowing(f"{attention}.linear_proj", f"{projections}.out_proj", h, h),
        *_norm(f"{ours}.pre_mlp_layernorm", f"{theirs}.layer_norm2", h),
        *_widening(f"{ours}.mlp.linear_fc1", f"{theirs}.mlp.fc1", h, vision.ffn),
        *_narrowing(f"{ours}.mlp.linear_fc2", f"{theirs}.mlp.fc2", vision.ffn, h),
    ]


def _one(name: str, key: str, *shape: int, split: Split = "none") -> Parameter:
    return Parameter(name, shape, "same", split, {key: shape})


def _norm(name: str, key: str, width: int) -> list[Parameter]:
    return [_one(f"{name}.{one}", f"{key}.{one}", width) for one in ("weight", "bias")]


def _widening(name: str, key: str, before: int, after: int) -> list[Parameter]:
    return [
        _one(f"{name}.weight", f"{key}.weight", after, before, split="tensor_rows"),
        _one(f"{name}.bias", f"{key}.bias", after, split="tensor_rows"),
    ]


def _narrowing(name: str, key: str, before: int, after: int) -> list[Parameter]:
    return [
        _one(f"{name}.weight", f"{key}.weight", after, before, split="tensor_columns"),
        _one(f"{name}.bias", f"{key}.bias", after),
    ]
