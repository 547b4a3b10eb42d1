"""A folder of ``config.json`` and safetensors, as its readers want it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from dataflow.tokenizer import Tokenizer
from trainer.convert.config import FILE, Layout, read_config
from trainer.convert.errors import ConversionError
from trainer.convert.names import parameters
from trainer.convert.reader import Checkpoint
from trainer.convert.tokenizers import fitting, tokenizer_beside
from trainer.models.recipe import ModelRecipe


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        folder: where it is.
        recipe: with vocabulary and rotary base.
        layout: "released" or "transformers".
        vocab_size: rows of the embedding.
        positions: the length that it was trained for.
        ends: ids that end a text, none where the configuration names none.
        tokenizer: None where the folder holds none and none was given.
        checkpoint: the tensors, whose keys and shapes are the recipe's.
    """

    folder: Path
    recipe: ModelRecipe
    layout: Layout
    vocab_size: int
    positions: int
    ends: frozenset[int]
    tokenizer: Tokenizer | None
    checkpoint: Checkpoint

    def dtype(self) -> torch.dtype:
        """Of the embedding, and in folders written here of all tensors."""
        table = parameters(self.recipe, self.vocab_size)
        (key,) = table["embedding.word_embeddings.weight"].keys
        return self.checkpoint.read(key).dtype


def open_exported(folder: Path, *, tokenizer: Path | None = None) -> Exported:
    """An exported folder, checked by its headers; no tensor is read.

    ``tokenizer`` is a tokenizer's folder; ``folder/tokenizer`` by default.

    Raises ConversionError as :func:`trainer.convert.read_config` and
    :class:`trainer.convert.Checkpoint`, and when the tokenizer has more entries than the embedding;
    TokenizerError for a tokenizer that does not read.
    """
    recipe, layout = read_config(folder)
    if recipe.vocab_size is None:
        raise ConversionError(f"{folder / FILE}: found no vocab_size, expected a number of rows")
    config = json.loads((folder / FILE).read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        raise ConversionError(
            f"{folder / FILE}, max_position_embeddings: found {positions!r}, expected a length "
            "from 1"
        )
    # One id, several, or none.
    ends = config.get("eos_token_id")
    ends = frozenset([ends] if isinstance(ends, int) else ends or ())
    found = tokenizer_beside(folder) if tokenizer is None else Tokenizer.load(tokenizer)
    if found is not None:
        fitting(found, recipe.vocab_size, str(folder))
    checkpoint = Checkpoint(folder)
    table = parameters(recipe, recipe.vocab_size)
    checkpoint.check({key: shape for one in table.values() for key, shape in one.keys.items()})
    return Exported(folder, recipe, layout, recipe.vocab_size, positions, ends, found, checkpoint)
