"""The parts of MiniMax-VL-01's ``config.json`` that are not of its text model.

``vision_config`` is transformers' of CLIP's vision transformer. The tower's last hidden state is
taken, without its class and without the norm behind it; the projector has biases and GELU. Grids
of tiles are in ``image_grid_pinpoints``; ``process_image_mode`` says whether they are used
(``anyres``) or each image is one tile (``resize``).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from trainer.convert.fields import Fields
from trainer.vision.recipe import CHANNELS, VisionRecipe
from vl_data.tiling import TILINGS

MODEL_TYPE = "minimax_vl_01"
_CLIP = "clip_vision_model"
_ONLY: dict[str, tuple[object, ...]] = {
    "vision_feature_layer": (-1,),
    "vision_feature_select_strategy": ("default",),
    "projector_hidden_act": ("gelu",),
    "multimodal_projector_bias": (True,),
    "tie_word_embeddings": (False,),
    "quantization_config": (None,),
}
"""Keys that may be absent, and the values of them that these models compute with."""
_ONLY_TOWER: dict[str, tuple[object, ...]] = {
    "num_channels": (CHANNELS,),
    "attention_dropout": (0,),
}


def write_vision(vision: VisionRecipe, text: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model with a tower around that of its text model.

    ``image_token_index`` is left out where the recipe leaves it to the tokenizer.
    """
    tiling = TILINGS[vision.tiling]
    config: dict[str, Any] = {
        "architectures": ["MiniMaxVL01ForConditionalGeneration"],
        "ignore_index": -100,
        "image_grid_pinpoints": [list(grid) for grid in tiling.grids],
        "image_seq_length": vision.features,
        "model_type": MODEL_TYPE,
        "multimodal_projector_bias": True,
        "process_image_mode": "anyres" if tiling.grids else "resize",
        "projector_hidden_act": "gelu",
        "text_config": dict(text),
        "tie_word_embeddings": False,
        "torch_dtype": text["torch_dtype"],
        "vision_config": {
            "attention_dropout": 0.0,
            "hidden_act": vision.activation,
            "hidden_size": vision.hidden,
            "image_size": vision.tile,
            "intermediate_size": vision.ffn,
            "layer_norm_eps": vision.norm_eps,
            "model_type": _CLIP,
            "num_attention_heads": vision.heads,
            "num_channels": CHANNELS,
            "num_hidden_layers": vision.layers,
            "patch_size": vision.patch,
            "projection_dim": text["hidden_size"],
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
    }
    if vision.image_token is not None:
        config["image_token_index"] = vision.image_token
    return dict(sorted(config.items()))


def read_vision(fields: Fields) -> VisionRecipe:
    """The tower of a configuration, with its tiling and its image token.

    Raises ConversionError naming the file and the key, for what these models do not compute, and
    for grids of no known tiling.
    """
    _check(fields, _ONLY)
    tower = tower_of(fields.get("vision_config", dict), f"{fields.source}, vision_config")
    tiling = _tiling(fields, tower)
    token = None
    if fields.config.get("image_token_index") is not None:
        token = fields.get("image_token_index", int)
    return VisionRecipe(**(tower.model_dump() | {"tiling": tiling, "image_token": token}))


def tower_of(config: Mapping[str, Any], source: str) -> VisionRecipe:
    """A tower from transformers' configuration of CLIP's vision transformer.

    The tiling is any of the tower's tile and patch: the configuration does not say one.

    Raises ConversionError naming the file and the key.
    """
    fields = Fields(config, source)
    if config.get("model_type", _CLIP) != _CLIP:
        raise fields.wrong("model_type", _CLIP)
    _check(fields, _ONLY_TOWER)
    tile, patch = fields.get("image_size", int), fields.get("patch_size", int)
    names = [one.name for one in TILINGS.values() if (one.tile, one.patch) == (tile, patch)]
    if not names:
        known = sorted({(one.tile, one.patch) for one in TILINGS.values()})
        raise fields.wrong(
            "image_size", f"with patch_size {patch} one of {known}: of no other is a tiling known"
        )
    activation = fields.get("hidden_act", str)
    if activation not in ("gelu", "quick_gelu"):
        raise fields.wrong("hidden_act", "gelu or quick_gelu")
    return VisionRecipe(
        layers=fields.get("num_hidden_layers", int),
        hidden=fields.get("hidden_size", int),
        heads=fields.get("num_attention_heads", int),
        ffn=fields.get("intermediate_size", int),
        patch=patch,
        tile=tile,
        tiling=names[0],
        activation="gelu" if activation == "gelu" else "quick_gelu",
        norm_eps=fields.get("layer_norm_eps", float) if "layer_norm_eps" in config else 1e-5,
    )


def _check(fields: Fields, only: Mapping[str, tuple[object, ...]]) -> None:
    for key, expected in only.items():
        if key in fields.config and fields.config[key] not in expected:
            raise fields.wrong(key, repr(expected[0]))


def _tiling(fields: Fields, tower: VisionRecipe) -> str:
    """The name of the tiling whose grids a configuration lists."""
    mode = fields.config.get("process_image_mode", "anyres")
    listed = fields.config.get("image_grid_pinpoints", [])
    if isinstance(listed, str):  # so it stands in some releases
        try:
            listed = ast.literal_eval(listed)
        except (ValueError, SyntaxError):
            raise fields.wrong("image_grid_pinpoints", "a list of pairs of pixels") from None
    try:
        grids = {(int(a), int(b)) for a, b in listed} if mode == "anyres" else set()
    except (TypeError, ValueError):
        raise fields.wrong("image_grid_pinpoints", "a list of pairs of pixels") from None
    # A list holds a grid and the same turned: which side comes first makes no difference.
    for one in TILINGS.values():
        if (one.tile, one.patch) == (tower.tile, tower.patch) and set(one.grids) == grids:
            return one.name
    raise fields.wrong(
        "image_grid_pinpoints" if mode == "anyres" else "process_image_mode",
        f"the grids of one of the tilings {', '.join(TILINGS)} for tiles of {tower.tile}",
    )
