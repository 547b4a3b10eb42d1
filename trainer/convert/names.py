"""Every parameter of a model: its Megatron-Core name, its released keys, its shape and its split.

The released keys are those of MiniMax-Text-01's files; transformers' ``save_pretrained`` writes the
same ones for ``model_type: minimax`` (its fused experts are taken apart on the way). Those of a
model with a vision tower are MiniMax-VL-01's.
"""

from __future__ import annotations

from dataclasses import replace

from trainer.convert.errors import ConversionError
from trainer.convert.parameter import Parameter, Split
from trainer.convert.vision_names import vision_parameters
from trainer.models.recipe import ModelRecipe

TEXT = "language_model."
"""What keys of the text model begin with beside those of a vision tower."""

DERIVED_BUFFERS = ("slope_rate", "query_decay", "key_decay", "diagonal_decay", "inv_freq")
"""Last parts of keys that transformers saves beside the weights, and derives again on loading."""


def parameters(recipe: ModelRecipe, vocab_size: int) -> dict[str, Parameter]:
    """All parameters by their Megatron-Core names, in the model's order.

    ``vocab_size``: rows of the embedding and of the head, without padding.

    Raises ConversionError when a mixer of the recipe has no released name.
    """
    found = [
        *_vocabulary("embedding.word_embeddings.weight", "model.embed_tokens", recipe, vocab_size),
        *[each for layer in range(recipe.layers) for each in _layer(recipe, layer)],
        _same("decoder.final_layernorm.weight", "model.norm", recipe.hidden),
        *_vocabulary("output_layer.weight", "lm_head", recipe, vocab_size),
    ]
    if recipe.vision is not None:
        found = [_beside_vision(each) for each in found] + vision_parameters(recipe)
    return {parameter.name: parameter for parameter in found}


def _beside_vision(parameter: Parameter) -> Parameter:
    return replace(parameter, keys={f"{TEXT}{key}": one for key, one in parameter.keys.items()})


def text_key(key: str) -> str | None:
    """A released key as files of the text model alone have it; None for one of a vision tower."""
    bare = key.removeprefix(TEXT)
    return bare if bare.startswith(("model.", "lm_head.")) else None


def is_derived(key: str) -> bool:
    """Whether a key names one of transformers' saved buffers, which hold no weight."""
    return key.rpartition(".")[2] in DERIVED_BUFFERS


def _same(name: str, key: str, *shape: int, split: Split = "none") -> Parameter:
    return Parameter(name, shape, "same", split, {f"{key}.weight": shape})


def _vocabulary(name: str, key: str, recipe: ModelRecipe, rows: int) -> list[Parameter]:
    shape = (rows, recipe.hidden)
    return [Parameter(name, shape, "vocabulary", "tensor_rows", {f"{key}.weight": shape})]


def _layer(recipe: ModelRecipe, layer: int) -> list[Parameter]:
    ours, theirs, hidden = f"decoder.layers.{layer}", f"model.layers.{layer}", recipe.hidden
    mixer = recipe.mixer_of(layer)
    if mixer not in _MIXERS:
        raise ConversionError(
            f"recipe {recipe.name}, layer {layer}: found mixer {mixer!r}, expected one of "
            f"{sorted(_MIXERS)}; no other has names in the released layout"
        )
    moe = f"{theirs}.block_sparse_moe"
    experts, ffn = recipe.experts.count, recipe.experts.ffn
    gate_up = {
        f"{moe}.experts.{e}.{w}.weight": (ffn, hidden) for e in range(experts) for w in ("w1", "w3")
    }
    down = {f"{moe}.experts.{e}.w2.weight": (hidden, ffn) for e in range(experts)}
    return [
        _same(f"{ours}.input_layernorm.weight", f"{theirs}.input_layernorm", hidden),
        *_MIXERS[mixer](recipe, f"{ours}.self_attention", f"{theirs}.self_attn"),
        _same(f"{ours}.pre_mlp_layernorm.weight", f"{theirs}.post_attention_layernorm", hidden),
        _same(f"{ours}.mlp.router.weight", f"{moe}.gate", experts, hidden),
        Parameter(
            f"{ours}.mlp.experts.gate_up", (experts, 2 * ffn, hidden), "gate_up", "experts", gate_up
        ),
        Parameter(f"{ours}.mlp.experts.down", (experts, hidden, ffn), "down", "experts", down),
    ]


def _lightning(recipe: ModelRecipe, ours: str, theirs: str) -> list[Parameter]:
    hidden, inner = recipe.hidden, recipe.heads * recipe.head_dim
    rows: Split = "tensor_rows"
    columns: Split = "tensor_columns"
    return [
        _same(f"{ours}.linear_qkv.weight", f"{theirs}.qkv_proj", 3 * inner, hidden, split=rows),
        _same(f"{ours}.linear_gate.weight", f"{theirs}.output_gate", inner, hidden, split=rows),
        _same(f"{ours}.norm.weight", f"{theirs}.norm", inner, split=rows),
        _same(f"{ours}.linear_proj.weight", f"{theirs}.out_proj", hidden, inner, split=columns),
    ]


def _softmax(recipe: ModelRecipe, ours: str, theirs: str) -> list[Parameter]:
    hidden, inner = recipe.hidden, recipe.heads * recipe.head_dim
    keys_rows = recipe.kv_heads * recipe.head_dim
    rows = {"q": inner, "k": keys_rows, "v": keys_rows}
    keys = {f"{theirs}.{one}_proj.weight": (count, hidden) for one, count in rows.items()}
    shape = (inner + 2 * keys_rows, hidden)
    name = f"{ours}.linear_qkv.weight"
    out = f"{ours}.linear_proj.weight"
    return [
        Parameter(name, shape, "grouped_qkv", "tensor_rows", keys),
        _same(out, f"{theirs}.o_proj", hidden, inner, split="tensor_columns"),
    ]


_MIXERS = {"lightning": _lightning, "softmax": _softmax}
