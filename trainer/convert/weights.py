"""Whole weights to a folder and back, one tensor at a time, by their Megatron-Core names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from trainer.convert.config import Layout, write_config
from trainer.convert.errors import ConversionError
from trainer.convert.layouts import megatron, released
from trainer.convert.names import parameters
from trainer.convert.parameter import Parameter
from trainer.convert.ranks import Place, cut, expert_range, part_shape
from trainer.convert.reader import Checkpoint
from trainer.convert.writer import ShardWriter
from trainer.models.recipe import ModelRecipe

MAX_SHARD_BYTES = 5 * 10**9
_END: tuple[str, Tensor | None] = ("", None)


def export_weights(
    weights: Iterable[tuple[str, Tensor]],
    recipe: ModelRecipe,
    folder: Path,
    *,
    layout: Layout,
    vocab_size: int,
    rope_base: float,
    positions: int,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> None:
    """Write shards, ``model.safetensors.index.json`` and ``config.json``.

    Args:
        weights: every parameter once, in any order: its global Megatron-Core name and its whole
            tensor, embedding and head with their padding rows or without. Each is let go of before
            the next is asked for.
        recipe, vocab_size, rope_base, positions, bos_token_id, eos_token_id: what ``config.json``
            says of the model (:func:`trainer.convert.config.write_config`).
        folder: new or empty; it appears when it is complete.
        layout: "released" or "transformers".
        dtype: every tensor is rounded to it; None keeps the weights' own, which must be one.
        max_shard_bytes: the tensors of one file, at most, unless a single tensor is larger.

    Raises:
        ConversionError: a model that the layout cannot say; parameters unknown, missing, given
            twice or of another shape or dtype; a folder with files.
        OSError: as the file system does; nothing is left of the folder.
    """
    weights = iter(weights)
    name, tensor = next(weights, _END)
    if tensor is None:
        raise ConversionError(f"{folder}: found no parameter to write, expected a model's")
    kind = tensor.dtype if dtype is None else dtype
    config = write_config(
        recipe,
        layout,
        vocab_size=vocab_size,
        rope_base=rope_base,
        positions=positions,
        dtype=str(kind).removeprefix("torch."),
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
    )
    table = parameters(recipe, vocab_size)
    shapes = {key: shape for one in table.values() for key, shape in one.keys.items()}
    with ShardWriter(
        folder, shapes, kind, max_shard_bytes=max_shard_bytes, config=config
    ) as writer:
        while tensor is not None:
            _check(name, tensor, table, kind if dtype is None else None)
            _write(writer, table[name], tensor, recipe, kind)
            # Let go of before the next is made: a name that a loop binds would still hold it.
            tensor = None
            name, tensor = next(weights, _END)


def read_weights(
    checkpoint: Checkpoint,
    recipe: ModelRecipe,
    *,
    vocab_size: int,
    vocab_rows: int | None = None,
    place: Place | None = None,
    names: Collection[str] | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter's global Megatron-Core name and the tensor of one rank.

    Args:
        checkpoint: the folder.
        recipe: the model's.
        vocab_size: entries of the tokenizer: rows of the embedding in the files.
        vocab_rows: rows with padding, which is filled with zeros; without any by default.
        place: of a rank, which gets its part; whole tensors by default. Of experts only the rank's
            own are read.
        names: global names to yield, in the model's order: those of a pipeline stage. All by
            default.

    Raises ConversionError, before any tensor is read, for keys missing or unknown, shapes, dtypes,
    parameters that do not divide over the ranks and names that the model does not have.
    """
    table = parameters(recipe, vocab_size)
    checkpoint.check({key: shape for one in table.values() for key, shape in one.keys.items()})
    chosen = table.keys() if names is None else set(names)
    if unknown := chosen - table.keys():
        raise ConversionError(
            f"recipe {recipe.name}: found parameters without a released name: "
            f"{', '.join(sorted(unknown)[:5])}; expected those of the recipe's layers"
        )
    place = Place() if place is None else place
    rows = vocab_size if vocab_rows is None else vocab_rows
    if rows < vocab_size:
        raise ConversionError(f"found {rows} rows with padding, expected {vocab_size} or more")
    wanted = [table[name] for name in table if name in chosen]
    for parameter in wanted:
        part_shape(parameter, place.part_of(parameter)[1], rows)
    return _read(checkpoint, recipe, wanted, rows, place)


def _read(
    checkpoint: Checkpoint,
    recipe: ModelRecipe,
    chosen: list[Parameter],
    rows: int,
    place: Place,
) -> Iterator[tuple[str, Tensor]]:
    for parameter in chosen:
        yield parameter.name, _read_one(checkpoint, recipe, parameter, rows, place)


def _read_one(
    checkpoint: Checkpoint, recipe: ModelRecipe, parameter: Parameter, rows: int, place: Place
) -> Tensor:
    if parameter.split == "experts":
        experts = expert_range(parameter, place)
        return megatron(parameter, checkpoint.read, recipe, experts=experts)
    whole = megatron(parameter, checkpoint.read, recipe, vocab_rows=rows)
    return cut(parameter, whole, *place.part_of(parameter))


def _write(
    writer: ShardWriter,
    parameter: Parameter,
    tensor: Tensor,
    recipe: ModelRecipe,
    dtype: torch.dtype,
) -> None:
    for key, part in released(parameter, tensor, recipe):
        writer.write(key, part.to(dtype))


def _check(
    name: str, tensor: Tensor, table: dict[str, Parameter], dtype: torch.dtype | None
) -> None:
    if name not in table:
        raise ConversionError(
            f"found parameter {name}, which has no released name; expected those of the recipe"
        )
    parameter, found = table[name], tuple(tensor.shape)
    padded = parameter.form == "vocabulary" and len(found) == 2 and found[0] > parameter.shape[0]
    if (parameter.shape[0], *found[1:]) != parameter.shape if padded else found != parameter.shape:
        raise ConversionError(f"{name}: found shape {found}, expected {parameter.shape}")
    if dtype is not None and tensor.dtype != dtype:
        raise ConversionError(
            f"{name}: found {tensor.dtype}, expected {dtype} as of the first parameter; say to "
            "which dtype all are to be rounded"
        )
