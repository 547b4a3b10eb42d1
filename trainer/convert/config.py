"""A model's recipe as ``config.json``, in the released form and in transformers', and back.

``released`` is MiniMax-Text-01's own (``model_type: minimax_text_01``, read by its remote code,
vLLM and SGLang); ``transformers`` is ``model_type: minimax``. The weights' keys are the same, these
differ:

    released                                     transformers
    attn_type_list (0 lightning, 1 softmax)      layer_types
    layernorm_{linear,full}_attention_alpha      {linear,full}_attn_alpha_factor (and beta)
    layernorm_mlp_alpha                          mlp_alpha_factor (and beta)
    postnorm                                     none: always
    rotary_dim                                   none: always the whole head
    rope_theta                                   rope_parameters

What transformers cannot say is refused on the way there: rotary on part of the head, pre-norm, and
lightning heads that are no power of two (their slopes would differ). Its slopes of powers of two
differ by at most 1e-5/(layers - 1) of a first layer's (``kernels.lightning.slopes``).

A model with a vision tower is ``model_type: minimax_vl_01`` and has the released one as its
``text_config`` (:mod:`.vision_config`); transformers has no such model.

How a model is trained is in neither (capacity, auxiliary loss, dtype of the head): recipes that are
read have the defaults, and no capacity: released models drop no token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from trainer.convert.errors import ConversionError
from trainer.convert.fields import Fields
from trainer.convert.vision_config import MODEL_TYPE, read_vision, write_vision
from trainer.models.recipe import Experts, ModelRecipe

Layout = Literal["released", "transformers"]

FILE = "config.json"
_MODEL_TYPES: dict[str, Layout] = {"minimax_text_01": "released", "minimax": "transformers"}
_MIXERS = {"lightning": (0, "linear_attention"), "softmax": (1, "full_attention")}
_RELEASED_WEIGHTS = (
    "layernorm_linear_attention",
    "layernorm_full_attention",
    "layernorm_mlp",
)
_TRANSFORMERS_WEIGHTS = ("linear_attn", "full_attn", "mlp")
_MIXER_EPS = 1e-6
_ONLY: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "tie_word_embeddings": (False,),
    "sliding_window": (None,),
    "rope_scaling": (None,),
    "shared_intermediate_size": (0, [0]),
    "attention_bias": (False,),
    "router_jitter_noise": (0, None),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
}
"""Keys that may be absent, and the values of them that these models compute with."""


def write_config(
    recipe: ModelRecipe,
    layout: Layout,
    *,
    vocab_size: int,
    rope_base: float,
    positions: int,
    dtype: str = "float32",
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> dict[str, Any]:
    """The configuration of a model.

    Args:
        recipe: the model's; its own ``vocab_size`` and ``rope_base`` are not read.
        layout: "released" or "transformers".
        vocab_size: entries of the tokenizer, without padding.
        rope_base: of the stage that the weights come from.
        positions: the length that they were trained for, ``max_position_embeddings``.
        dtype: of the weights, without ``torch.``.
        bos_token_id, eos_token_id: the tokenizer's, or None.

    Raises ConversionError for what the layout cannot say.
    """
    _check_layout(layout)
    _refuse(recipe, layout)
    kinds = [_MIXERS[recipe.mixer_of(layer)] for layer in range(recipe.layers)]
    alpha = recipe.residual_weight
    config: dict[str, Any] = {
        "attention_dropout": 0.0,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "head_dim": recipe.head_dim,
        "hidden_act": "silu",
        "hidden_size": recipe.hidden,
        "intermediate_size": recipe.experts.ffn,
        "max_position_embeddings": positions,
        "num_attention_heads": recipe.heads,
        "num_experts_per_tok": recipe.experts.top_k,
        "num_hidden_layers": recipe.layers,
        "num_key_value_heads": recipe.kv_heads,
        "num_local_experts": recipe.experts.count,
        "output_router_logits": False,
        "rms_norm_eps": recipe.norm_eps,
        "router_jitter_noise": 0.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": vocab_size,
    }
    if layout == "released":
        config |= {
            "architectures": ["MiniMaxText01ForCausalLM"],
            "model_type": "minimax_text_01",
            "attn_type_list": [number for number, _ in kinds],
            "postnorm": recipe.residual == "deepnorm",
            "rope_theta": rope_base,
            "rotary_dim": recipe.rotary_dim,
            "shared_intermediate_size": 0,
            "shared_moe_mode": "sigmoid",
            "torch_dtype": dtype,
        }
        for name in _RELEASED_WEIGHTS:
            config |= {f"{name}_alpha": alpha, f"{name}_beta": 1.0}
    else:
        config |= {
            "architectures": ["MiniMaxForCausalLM"],
            "model_type": "minimax",
            "dtype": dtype,
            "layer_types": [name for _, name in kinds],
            "rope_parameters": {"rope_type": "default", "rope_theta": rope_base},
        }
        for name in _TRANSFORMERS_WEIGHTS:
            config |= {f"{name}_alpha_factor": alpha, f"{name}_beta_factor": 1.0}
    config = dict(sorted(config.items()))
    return config if recipe.vision is None else write_vision(recipe.vision, config)


def read_config(path: Path) -> tuple[ModelRecipe, Layout]:
    """The recipe and the layout of a folder's ``config.json``; the folder names the model.

    Raises ConversionError naming the file, the key, what was found and what was expected.
    """
    file = path / FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConversionError(
            f"{file}: found no such file, expected a model's configuration"
        ) from None
    except ValueError as error:
        raise ConversionError(f"{file}: found no JSON ({error}), expected an object") from error
    if not isinstance(config, dict):
        raise ConversionError(f"{file}: found {type(config).__name__}, expected an object")
    return recipe_of(config, name=path.resolve().name, source=str(file))


def recipe_of(
    config: Mapping[str, Any], *, name: str, source: str = FILE
) -> tuple[ModelRecipe, Layout]:
    """The recipe, with its vocabulary and rotary base, and the layout of a configuration.

    Raises ConversionError as :func:`read_config`; ``source`` is the file that it names.
    """
    fields = Fields(config, source)
    if config.get("model_type") == MODEL_TYPE:
        text = fields.get("text_config", dict)
        recipe, form = recipe_of(text, name=name, source=f"{source}, text_config")
        return recipe.model_copy(update={"vision": read_vision(fields)}), form
    layout = _MODEL_TYPES.get(fields.get("model_type", str))
    if layout is None:
        raise fields.wrong("model_type", " or ".join([*_MODEL_TYPES, MODEL_TYPE]))
    for key, expected in _ONLY.items():
        if key in config and config[key] not in expected:
            raise fields.wrong(key, repr(expected[0]))
    layers = fields.get("num_hidden_layers", int)
    heads, hidden = fields.get("num_attention_heads", int), fields.get("hidden_size", int)
    head_dim = hidden // heads if config.get("head_dim") is None else fields.get("head_dim", int)
    mixers = _read_mixers(fields, layout, layers)
    post, alpha = _read_residual(fields, layout, layers)
    if layout == "released":
        base, rotary_dim = fields.get("rope_theta", float), fields.get("rotary_dim", int)
    else:
        base, rotary_dim = _read_rope(fields), head_dim
    try:
        recipe = ModelRecipe(
            name=name,
            layers=layers,
            hidden=hidden,
            heads=heads,
            head_dim=head_dim,
            kv_heads=fields.get("num_key_value_heads", int),
            mixers=mixers,
            experts=Experts(
                count=fields.get("num_local_experts", int),
                top_k=fields.get("num_experts_per_tok", int),
                ffn=fields.get("intermediate_size", int),
            ),
            rotary_dim=rotary_dim,
            rope_base=base,
            residual="deepnorm" if post else "pre",
            alpha=alpha,
            norm_eps=fields.get("rms_norm_eps", float),
            vocab_size=fields.get("vocab_size", int),
        )
        _refuse(recipe, layout)
    except ValueError as error:
        raise ConversionError(f"{source}: {error}") from error
    return recipe, layout


def check_same(ours: ModelRecipe, found: ModelRecipe, source: str) -> None:
    """Refuse weights of another model: compares what configurations say of the computation.

    The rotary base and the tiling are the stage's and are not compared, nor are a vocabulary and an
    image token that either leaves to the tokenizer. Raises ConversionError naming each field that
    differs.
    """
    mine, theirs = _computation(ours), _computation(found)
    for field in ("vocab_size", "vision.image_token"):
        if mine.get(field) is None or theirs.get(field) is None:
            mine.pop(field, None)
    wrong = [
        f"{field} {theirs.get(field)!r}, expected {value!r}"
        for field, value in mine.items()
        if theirs.get(field) != value
    ]
    if wrong:
        raise ConversionError(
            f"{source}: found {'; '.join(wrong)}, as recipe {ours.name} has; choose the recipe "
            "that these weights are of"
        )


def _computation(recipe: ModelRecipe) -> dict[str, object]:
    mixers = [recipe.mixer_of(layer) for layer in range(recipe.layers)]
    kept = ("layers", "hidden", "heads", "head_dim", "kv_heads", "residual", "residual_weight")
    return {
        **{field: getattr(recipe, field) for field in (*kept, "norm_eps", "vocab_size")},
        "mixers": mixers,
        # Only softmax layers turn their features.
        "rotary_dim": recipe.rotary_dim if "softmax" in mixers else None,
        **{
            f"experts.{field}": getattr(recipe.experts, field)
            for field in ("count", "top_k", "ffn")
        },
        **_computation_of_vision(recipe),
    }


def _computation_of_vision(recipe: ModelRecipe) -> dict[str, object]:
    if recipe.vision is None:
        return {"vision": None}
    fields = recipe.vision.model_dump(exclude={"tiling"})
    return {"vision": "a tower", **{f"vision.{field}": value for field, value in fields.items()}}


def _check_layout(layout: str) -> None:
    if layout not in get_args(Layout):
        raise ConversionError(
            f"found layout {layout!r}, expected one of {', '.join(get_args(Layout))}"
        )


def _refuse(recipe: ModelRecipe, layout: Layout) -> None:
    """What a layout cannot say."""
    mixers = {recipe.mixer_of(layer) for layer in range(recipe.layers)}

    def refuse(found: str, expected: str) -> ConversionError:
        return ConversionError(
            f"recipe {recipe.name}: found {found}, expected {expected}: the {layout} layout has no "
            "other"
        )

    if unknown := mixers - set(_MIXERS):
        raise refuse(f"mixers {sorted(unknown)}", f"of {sorted(_MIXERS)}")
    if "lightning" in mixers and recipe.mixer_norm_eps != _MIXER_EPS:
        raise refuse(f"mixer_norm_eps {recipe.mixer_norm_eps}", f"{_MIXER_EPS}")
    if layout == "released":
        return
    if recipe.vision is not None:
        raise refuse("a vision block", "none")
    if recipe.residual != "deepnorm":
        raise refuse(f"residual {recipe.residual!r}", "'deepnorm'")
    if "softmax" in mixers and recipe.rotary_dim != recipe.head_dim:
        raise refuse(f"rotary_dim {recipe.rotary_dim}", f"head_dim {recipe.head_dim}")
    if "lightning" in mixers and recipe.heads & (recipe.heads - 1):
        raise refuse(f"{recipe.heads} heads of lightning layers", "a power of two")


def _read_mixers(fields: Fields, layout: Layout, layers: int) -> tuple[str, ...]:
    """The shortest run of mixers that repeats into the model's."""
    key = "attn_type_list" if layout == "released" else "layer_types"
    names = {pair[layout == "transformers"]: mixer for mixer, pair in _MIXERS.items()}
    kinds = fields.get(key, list)
    if len(kinds) != layers or any(kind not in names for kind in kinds):
        raise fields.wrong(key, f"{layers} of {list(names)}")
    mixers = [names[kind] for kind in kinds]
    period = next(
        p for p in range(1, layers + 1) if all(mixers[i] == mixers[i % p] for i in range(layers))
    )
    return tuple(mixers[:period])


def _read_residual(fields: Fields, layout: Layout, layers: int) -> tuple[bool, float | None]:
    """Whether norms come after the residual, and α where it is not DeepNorm's."""
    if layout == "released":
        post = fields.get("postnorm", bool)
        alphas = [f"{name}_alpha" for name in _RELEASED_WEIGHTS]
        betas = [f"{name}_beta" for name in _RELEASED_WEIGHTS]
    else:
        post = True
        alphas = [f"{name}_alpha_factor" for name in _TRANSFORMERS_WEIGHTS]
        betas = [f"{name}_beta_factor" for name in _TRANSFORMERS_WEIGHTS]
    alpha = fields.get(alphas[0], float) if post else 1.0
    for key in alphas:
        if fields.get(key, float) != alpha:
            raise fields.wrong(key, f"{alpha}" + (f", as {alphas[0]}" if post else " of pre-norm"))
    for key in betas:
        if fields.get(key, float) != 1:
            raise fields.wrong(key, "1: another factor would be a model of other weights")
    return post, None if not post or alpha == (2 * layers) ** 0.25 else alpha


def _read_rope(fields: Fields) -> float:
    """transformers 5 nests the base; 4 had ``rope_theta`` beside the other keys."""
    rope = fields.config.get("rope_parameters")
    if rope is None:
        return fields.get("rope_theta", float)
    if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
        raise fields.wrong("rope_parameters", "an object of rope_type 'default'")
    if rope.get("partial_rotary_factor", 1) != 1:
        raise fields.wrong("rope_parameters", "no partial_rotary_factor: transformers ignores it")
    return Fields(rope, f"{fields.source}, rope_parameters").get("rope_theta", float)
