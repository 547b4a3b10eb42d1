"""Builds a model from its recipe, on a device or only as shapes."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from megatron.core.utils import get_pg_rank

from trainer.megatron import cpu, faults
from trainer.megatron.start import Layout
from trainer.models.config import ModelConfig, transformer_config
from trainer.models.initialise import initialise, mark_partitions
from trainer.models.language_model import LanguageModel
from trainer.models.layer import block_spec
from trainer.models.mixers import mixer
from trainer.models.norm import LayerNorm
from trainer.models.recipe import ModelRecipe

__all__ = ["build_model", "count_parameters", "transformer_config"]


def build_model(
    recipe: ModelRecipe,
    *,
    vocab_size: int,
    sequence_tokens: int,
    rope_base: float,
    parallel: Layout,
    dtype: torch.dtype = torch.float32,
    pre_process: bool = True,
    post_process: bool = True,
    recompute: bool = False,
    seed: int = 0,
    image_token: int | None = None,
    device: torch.device | str | None = None,
) -> LanguageModel:
    """A model, or this pipeline stage's part of it, with its first weights.

    The process groups must have been started with the same layout
    (:func:`trainer.megatron.start.start`).

    Args:
        recipe: sizes and choices.
        vocab_size: entries of the tokenizer's vocabulary.
        sequence_tokens: L, the tokens of one packed sequence.
        rope_base: of the rotary positions in this stage.
        parallel: how the model is spread over ranks.
        dtype: of weights and activations.
        pre_process, post_process: whether this stage embeds, and whether it ends in the head.
        recompute: keep the input of each layer alone and compute it again in the backward pass.
        seed: of the weights, which do not depend on the layout (:mod:`.initialise`).
        image_token: the id whose places take the features of images, where the recipe has a
            ``vision`` block that leaves it to the tokenizer.
        device: where weights lie; the current GPU by default, or the CPU where there is none.

    Raises:
        ValueError: where the layout cannot cut the model, a mixer has no such name, or nobody says
            an image token of the vocabulary.
    """
    cpu.install()
    faults.mend()
    recipe = recipe.showing_images_at(image_token)
    _check_image_token(recipe, vocab_size)
    config = transformer_config(
        recipe,
        vocab_size=vocab_size,
        sequence_tokens=sequence_tokens,
        rope_base=rope_base,
        parallel=parallel,
        dtype=dtype,
        recompute=recompute,
    )
    groups = ProcessGroupCollection.use_mpu_process_groups()
    if device is None:
        here = torch.cuda.is_available()
        device = torch.device("cuda", torch.cuda.current_device()) if here else "cpu"
    model = _assemble(config, groups, pre_process, post_process, torch.device(device))
    initialise(model, seed)
    return model


def count_parameters(recipe: ModelRecipe, vocab_size: int) -> tuple[int, int]:
    """Parameters of a model, and those that work on one token: ``(total, active)``.

    The total is of all that is trained, without padding rows. Active are the ``top_k`` experts of
    each layer and all else but embedding and head: so counts MiniMax-01, with 456 and 45.9 billion
    (arXiv:2501.08313, section 2). A vision tower and its projector count in both. The model is
    built without memory, and needs no process groups.
    """
    cpu.install()
    faults.mend()
    alone = Layout()
    config = transformer_config(
        recipe,
        vocab_size=vocab_size,
        sequence_tokens=1,
        rope_base=recipe.rope_base,
        parallel=alone,
    )
    model = _assemble(config, _no_groups(), True, True, torch.device("meta"))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    ends = 2 * vocab_size * recipe.hidden
    padded = sum(
        sizes.pop(name) for name in ("embedding.word_embeddings.weight", "output_layer.weight")
    )
    assert padded >= ends
    body = sum(sizes.values())
    experts = sum(size for name, size in sizes.items() if ".mlp.experts." in name)
    idle = experts * (recipe.experts.count - recipe.experts.top_k) // recipe.experts.count
    return body + ends, body - idle


def _check_image_token(recipe: ModelRecipe, vocab_size: int) -> None:
    if recipe.vision is None:
        return
    token = recipe.vision.image_token
    if token is None or token >= vocab_size:
        raise ValueError(
            f"model {recipe.name}: found image token {token}, expected an id below {vocab_size}; "
            "say vision.image_token, or take a tokenizer with a special of role image"
        )


def _assemble(
    config: ModelConfig,
    groups: ProcessGroupCollection,
    pre_process: bool,
    post_process: bool,
    device: torch.device,
) -> LanguageModel:
    """A model with weights that were not drawn."""
    rank = get_pg_rank(groups.pp)
    first = get_transformer_layer_offset(config, None, rank)
    count = get_num_layers_to_build(config, None, rank)
    layers = [
        block_spec(mixer(config.recipe.mixer_of(layer))) for layer in range(first, first + count)
    ]
    blocks = TransformerBlockSubmodules(layer_specs=layers, layer_norm=LayerNorm)
    with device:
        model = LanguageModel(config, blocks, pre_process, post_process, groups)
    mark_partitions(model)
    return model


class _Alone:
    """A process group of this process, as far as building asks."""

    def size(self) -> int:
        return 1

    def rank(self) -> int:
        return 0


def _no_groups() -> ProcessGroupCollection:
    alone: Any = _Alone()
    names = ("tp", "pp", "cp", "ep", "expt_tp", "expt_dp", "tp_ep", "tp_cp", "tp_dp_cp", "dp_cp")
    return ProcessGroupCollection(**dict.fromkeys(names, alone), embd=None)
