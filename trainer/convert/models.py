"""Models that run, to a folder and back: in one process or on every rank of a layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist
from torch import nn

from trainer.convert.config import Layout, check_same, read_config
from trainer.convert.errors import ConversionError
from trainer.convert.gather import Gathering
from trainer.convert.names import parameters
from trainer.convert.ranks import Place
from trainer.convert.reader import Checkpoint
from trainer.convert.weights import MAX_SHARD_BYTES, export_weights, read_weights
from trainer.models.recipe import ModelRecipe

if TYPE_CHECKING:
    from trainer.models.config import ModelConfig
    from trainer.models.language_model import LanguageModel

_PADDED = ("embedding.word_embeddings.weight", "output_layer.weight")


def export_model(
    model: nn.Module | Sequence[nn.Module],
    recipe: ModelRecipe,
    folder: Path,
    *,
    layout: Layout,
    vocab_size: int | None = None,
    rope_base: float | None = None,
    positions: int | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> None:
    """Write a model's weights; a collective of all ranks, of which rank 0 writes.

    ``model`` is this rank's, or its chunks under a virtual pipeline, wrapped by DDP or not; its
    vocabulary, rotary base and length go into ``config.json`` where None is given. The rest as for
    :func:`trainer.convert.weights.export_weights`, errors too.
    """
    config = _config(model, recipe)
    if vocab_size not in (None, config.vocab_size):
        raise ConversionError(
            f"{folder}: found vocab_size {vocab_size}, expected {config.vocab_size} as the model "
            "has"
        )
    vocab_size = config.vocab_size
    if config.recipe.vision is not None:
        # Where the recipe leaves the image token to the tokenizer, the model was told it.
        recipe = recipe.showing_images_at(config.recipe.vision.image_token)
    local = {name: tensor.detach() for name, tensor in local_parameters(model).items()}
    table = parameters(recipe, vocab_size)
    if unknown := local.keys() - table.keys():
        raise ConversionError(
            f"recipe {recipe.name}: found parameters without a released name: "
            f"{', '.join(sorted(unknown)[:5])}; expected those of the recipe's layers"
        )

    def write(weights: Any) -> None:
        export_weights(
            weights,
            recipe,
            folder,
            layout=layout,
            vocab_size=vocab_size,
            rope_base=config.rope_base if rope_base is None else rope_base,
            positions=config.sequence_tokens if positions is None else positions,
            dtype=dtype,
            max_shard_bytes=max_shard_bytes,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
        )

    if not dist.is_initialized() or dist.get_world_size() == 1:
        write(local.items())
        return
    gathering = Gathering(local, table.values(), this_place())
    if dist.get_rank():
        gathering.serve()
        return
    well = False
    try:
        write(gathering.wholes())
        well = True
    finally:
        gathering.finish(well=well)


def import_model(
    folder: Path, model: nn.Module | Sequence[nn.Module], recipe: ModelRecipe
) -> ModelRecipe:
    """Read a folder's weights into a model; every rank reads its own part, by itself.

    Weights of another dtype are rounded to the model's. Padding rows of the vocabulary become
    zeros. An optimizer that keeps weights of its own has to be made, or told, afterwards.

    Returns:
        The recipe that the folder's ``config.json`` describes: with its rotary base, which is the
        stage's and is for the caller to hold against the model's.

    Raises ConversionError when the configuration is of another model than ``recipe`` or of another
    vocabulary than the model's, and as
    :func:`trainer.convert.weights.read_weights`.
    """
    found, _ = read_config(folder)
    check_same(recipe, found, str(folder))
    vocab_size = _config(model, recipe).vocab_size
    if found.vocab_size != vocab_size:
        raise ConversionError(
            f"{folder}: found a vocabulary of {found.vocab_size}, expected {vocab_size} as the "
            "model has; build it for the tokenizer of these weights"
        )
    local, place = local_parameters(model), this_place()
    held = [local[name] for name in _PADDED if name in local]
    weights = read_weights(
        Checkpoint(folder),
        found,
        vocab_size=vocab_size,
        vocab_rows=len(held[0]) * place.tp if held else None,
        place=place,
        names=local.keys(),
    )
    with torch.no_grad():
        for name, tensor in weights:
            if local[name].shape != tensor.shape:
                raise ConversionError(
                    f"{folder}, {name}: found {tuple(tensor.shape)}, expected "
                    f"{tuple(local[name].shape)} as the model has on this rank"
                )
            local[name].copy_(tensor)
            del tensor  # before the next is read
    return found


def this_place() -> Place:
    """This rank's place, as Megatron-Core's groups have it; the only one without them."""
    # Imported here and below: it takes seconds, which who only reads and writes files can spare.
    from megatron.core import parallel_state

    if not parallel_state.model_parallel_is_initialized():
        return Place()
    return Place(
        tp_rank=parallel_state.get_tensor_model_parallel_rank(),
        tp=parallel_state.get_tensor_model_parallel_world_size(),
        ep_rank=parallel_state.get_expert_model_parallel_rank(),
        ep=parallel_state.get_expert_model_parallel_world_size(),
    )


def local_parameters(model: nn.Module | Sequence[nn.Module]) -> dict[str, nn.Parameter]:
    """This rank's parameters by their global names, of all chunks, without what wraps them."""
    from trainer.models.names import global_parameters

    found: dict[str, nn.Parameter] = {}
    for chunk in [model] if isinstance(model, nn.Module) else model:
        found |= global_parameters(_unwrapped(chunk))
    return found


def config_of(model: nn.Module | Sequence[nn.Module]) -> ModelConfig:
    """The configuration of a model, or of its first chunk."""
    first = model if isinstance(model, nn.Module) else model[0]
    config: ModelConfig = _unwrapped(first).config
    return config


def _config(model: nn.Module | Sequence[nn.Module], recipe: ModelRecipe) -> ModelConfig:
    """The model's configuration, which is to be of this recipe."""
    config = config_of(model)
    check_same(recipe, config.recipe, "the model")
    return config


def _unwrapped(chunk: nn.Module) -> LanguageModel:
    """Megatron-Core's DDP and Float16Module hold what they wrap as ``module``."""
    from trainer.models.language_model import LanguageModel

    while not isinstance(chunk, LanguageModel):
        inner = getattr(chunk, "module", None)
        if not isinstance(inner, nn.Module):
            raise TypeError(
                f"found {type(chunk).__name__}, expected a LanguageModel, wrapped or not"
            )
        chunk = inner
    return chunk
