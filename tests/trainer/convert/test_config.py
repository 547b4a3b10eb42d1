"""Recipes as config.json, in both forms, and back."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from transformers import MiniMaxConfig

from benchmarks.trainer.judges import recipe_of
from tests.trainer.convert.cases import drawn_recipe
from trainer.convert.config import Layout, check_same, read_config, write_config
from trainer.convert.config import recipe_of as recipe_from
from trainer.convert.errors import ConversionError
from trainer.convert.names import parameters
from trainer.models.recipe import Experts, ModelRecipe

# What the released config.json says of MiniMax-Text-01, as far as it is of the computation.
RELEASED = {
    "model_type": "minimax_text_01",
    "attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 10,
    "bos_token_id": None,
    "eos_token_id": None,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 6144,
    "intermediate_size": 9216,
    "layernorm_full_attention_alpha": 3.5565588200778455,
    "layernorm_full_attention_beta": 1.0,
    "layernorm_linear_attention_alpha": 3.5565588200778455,
    "layernorm_linear_attention_beta": 1.0,
    "layernorm_mlp_alpha": 3.5565588200778455,
    "layernorm_mlp_beta": 1.0,
    "max_position_embeddings": 10240000,
    "num_attention_heads": 64,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "postnorm": True,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000000,
    "rotary_dim": 64,
    "shared_intermediate_size": 0,
    "shared_moe_mode": "sigmoid",
    "sliding_window": None,
    "tie_word_embeddings": False,
    "vocab_size": 200064,
}


def written(recipe: ModelRecipe, layout: Layout, **rest: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"vocab_size": 75, "rope_base": 5e6, "positions": 64, **rest}
    return write_config(recipe, layout, **values)


def test_the_released_configuration() -> None:
    recipe, layout = recipe_from(RELEASED, name="minimax-text-01")
    assert layout == "released"
    assert recipe.mixers == ("lightning",) * 7 + ("softmax",)
    assert recipe.alpha is None
    assert (recipe.rotary_dim, recipe.rope_base, recipe.vocab_size) == (64, 1e7, 200064)
    assert recipe.experts.capacity_factor is None
    again = write_config(
        recipe, "released", vocab_size=200064, rope_base=10_000_000, positions=10_240_000
    )
    assert RELEASED.items() <= again.items()


@pytest.mark.parametrize("seed", range(30))
def test_round_trip(seed: int) -> None:
    """A recipe's configuration is of the same computation, and written again it is the same."""
    recipe = drawn_recipe(seed)
    if recipe.residual == "deepnorm" and random.Random(seed).random() < 0.5:
        recipe = recipe.model_copy(update={"alpha": 1.375})
    config = json.loads(json.dumps(written(recipe, "released")))
    back, layout = recipe_from(config, name="small")
    assert layout == "released"
    check_same(recipe, back, "config.json")
    assert written(back, "released") == config
    assert (back.vocab_size, back.rope_base) == (75, 5e6)


def test_transformers_takes_its_form() -> None:
    recipe = recipe_of(alpha=1.5, layers=5)
    config = MiniMaxConfig(**written(recipe, "transformers", bos_token_id=3))
    assert config.layer_types == ["linear_attention", "full_attention"] * 2 + ["linear_attention"]
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 5e6}
    assert (config.bos_token_id, config.eos_token_id) == (3, None)
    back, layout = recipe_from(config.to_dict(), name="small")
    assert layout == "transformers"
    # How it is trained is the default's.
    kept = {"experts": Experts(count=4, top_k=2, ffn=20), "vocab_size": 75, "rope_base": 5e6}
    assert back == recipe.model_copy(update=kept)
    older = {**config.to_dict(), "rope_parameters": None, "rope_theta": 5e6}
    assert recipe_from(older, name="small")[0] == back


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("transformers", {"rotary_dim": 4}, "found rotary_dim 4, expected head_dim 8"),
        ("transformers", {"residual": "pre"}, "found residual 'pre', expected 'deepnorm'"),
        ("transformers", {"heads": 6}, "found 6 heads of lightning layers, expected a power of"),
        ("released", {"mixer_norm_eps": 1e-5}, "found mixer_norm_eps 1e-05, expected 1e-06"),
        ("released", {"mixers": ("retention",)}, r"found mixers \['retention'\], expected of"),
        ("megatron", {}, "found layout 'megatron', expected one of released, transformers"),
    ],
)
def test_refuses_what_a_layout_cannot_say(
    layout: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        written(recipe_of().model_copy(update=change), layout)


def test_what_is_not_computed_with_is_not_refused() -> None:
    """Rotary where nothing turns, slopes where nothing decays."""
    written(recipe_of(mixers=("lightning",), rotary_dim=4), "transformers")
    written(recipe_of(mixers=("softmax",), heads=6, mixer_norm_eps=1e-3), "transformers")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type: found 'llama', expected minimax_text_01 or minimax"),
        ({"model_type": None}, "model_type: found None, expected a value of type str"),
        ({"hidden_size": "6144"}, "hidden_size: found '6144', expected a value of type int"),
        ({"num_hidden_layers": True}, "num_hidden_layers: found True"),
        ({"attn_type_list": [0, 1]}, r"attn_type_list: found \[0, 1\], expected 80 of \[0, 1\]"),
        ({"attn_type_list": [2] * 80}, "attn_type_list: found"),
        ({"layernorm_mlp_alpha": 2.0}, "layernorm_mlp_alpha: found 2.0, expected 3.55.*, as layer"),
        ({"layernorm_mlp_beta": 0.5}, "layernorm_mlp_beta: found 0.5, expected 1"),
        ({"postnorm": False}, "alpha: found 3.55.*, expected 1.0 of pre-norm"),
        ({"shared_intermediate_size": 64}, "shared_intermediate_size: found 64, expected 0"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings: found True, expected False"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling: found"),
        ({"quantization_config": {}}, "quantization_config: found"),
        ({"hidden_act": "gelu"}, "hidden_act: found 'gelu', expected 'silu'"),
        ({"num_key_value_heads": 7}, "found 64 heads and 7 kv_heads, expected a multiple"),
        ({"rotary_dim": 256}, "found rotary_dim 256"),
    ],
)
def test_names_what_is_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(RELEASED | change))
    with pytest.raises(ConversionError, match=message) as error:
        read_config(tmp_path)
    assert str(tmp_path / "config.json") in str(error.value)


@pytest.mark.parametrize("key", ["vocab_size", "rotary_dim", "rope_theta", "postnorm"])
def test_names_a_missing_key(key: str) -> None:
    config = {name: value for name, value in RELEASED.items() if name != key}
    with pytest.raises(ConversionError, match=f"{key}: found none, expected a value of type"):
        recipe_from(config, name="m")


def test_rotary_that_transformers_ignores_is_refused() -> None:
    config = written(recipe_of(), "transformers")
    config["rope_parameters"]["partial_rotary_factor"] = 0.5
    with pytest.raises(ConversionError, match=r"rope_parameters: found .*partial_rotary_factor"):
        recipe_from(config, name="m")
    config["rope_parameters"] = {"rope_type": "yarn", "rope_theta": 1e4}
    with pytest.raises(ConversionError, match=r"rope_parameters: found .*'yarn'.* expected an"):
        recipe_from(config, name="m")


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"config\.json: found no such file"):
        read_config(tmp_path)
    for text, found in (("{", "found no JSON"), ("[1]", "found list, expected an object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConversionError, match=f"config.json: {found}"):
            read_config(tmp_path)


def test_another_model_is_refused() -> None:
    ours, other = recipe_of(), recipe_of(hidden=32, experts=(4, 1, 20))
    with pytest.raises(ConversionError) as error:
        check_same(ours, other, "weights/b")
    message = str(error.value)
    assert message.startswith(
        "weights/b: found hidden 32, expected 24; experts.top_k 1, expected 2"
    )
    same = {"name": "other", "rope_base": 5e6, "vocab_size": 75}
    check_same(ours, ours.model_copy(update=same), "weights/b")
    sized = ours.model_copy(update={"vocab_size": 76})
    with pytest.raises(ConversionError, match="vocab_size 75, expected 76"):
        check_same(sized, ours.model_copy(update=same), "weights/b")


def test_the_whole_model_has_the_names_and_the_size() -> None:
    """MiniMax-Text-01: 456.09 billion parameters, and the keys of its files."""
    recipe, _ = recipe_from(RELEASED, name="minimax-text-01")
    table = parameters(recipe, 200064)
    keys = {key: shape for one in table.values() for key, shape in one.keys.items()}
    assert sum(math.prod(shape) for shape in keys.values()) / 1e9 == pytest.approx(456.09, abs=5e-3)
    assert sum(math.prod(one.shape) for one in table.values()) == sum(map(math.prod, keys.values()))
    layer = "model.layers.7"
    assert {key: keys[key] for key in keys if f"{layer}." in key and ".experts." not in key} == {
        f"{layer}.input_layernorm.weight": (6144,),
        f"{layer}.post_attention_layernorm.weight": (6144,),
        f"{layer}.self_attn.q_proj.weight": (8192, 6144),
        f"{layer}.self_attn.k_proj.weight": (1024, 6144),
        f"{layer}.self_attn.v_proj.weight": (1024, 6144),
        f"{layer}.self_attn.o_proj.weight": (6144, 8192),
        f"{layer}.block_sparse_moe.gate.weight": (32, 6144),
    }
    layer = "model.layers.78"
    assert {key: keys[key] for key in keys if f"{layer}.self_attn" in key} == {
        f"{layer}.self_attn.qkv_proj.weight": (24576, 6144),
        f"{layer}.self_attn.output_gate.weight": (8192, 6144),
        f"{layer}.self_attn.norm.weight": (8192,),
        f"{layer}.self_attn.out_proj.weight": (6144, 8192),
    }
    experts = "model.layers.79.block_sparse_moe.experts.31"
    assert [keys[f"{experts}.{w}.weight"] for w in ("w1", "w2", "w3")] == [
        (9216, 6144),
        (6144, 9216),
        (9216, 6144),
    ]
