"""An exported model as a run's folder, from which a stage can start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dataflow.recipe.yaml_tree import dump
from dataflow.tokenizer import Tokenizer
from trainer.convert.config import check_same
from trainer.convert.errors import ConversionError
from trainer.convert.exported import Exported
from trainer.convert.models import import_model
from trainer.convert.saved_run import DTYPES, alone
from trainer.convert.tokenizers import TOKENIZER, fitting
from trainer.megatron import checkpoints
from trainer.megatron.start import Layout
from trainer.models.recipe import ModelRecipe
from trainer.run.request import CHECKPOINTS
from trainer.stages.recipe import BatchMark, Phase, Schedule, StageRecipe

STAGE = "import"
STEP = 0


def import_run(
    exported: Exported, out: Path, *, tokenizer: Tokenizer, model: ModelRecipe | None = None
) -> None:
    """Write a run's folder that reads as a finished stage, for ``trainer run --start-from``.

    It has the weights and an optimizer that has taken no step: a stage that keeps the optimizer of
    the one before starts with moments of zero.

    Args:
        exported: the model.
        out: new or empty. ``checkpoints/step-00000000`` is written last and is whole or not there.
        tokenizer: the one that the model reads with; saved with it.
        model: the recipe that is trained on: it says what a configuration cannot (capacity,
            auxiliary loss, dtype of the head) and must be of the same computation. By default the
            configuration's, which is written to ``out/<name>.yaml`` for ``trainer run --model``.

    Raises:
        ConversionError: another model or vocabulary, weights that do not read, a folder with files.
        SaveFailed: the checkpoint could not be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConversionError(
            f"{out}: found files, expected a new folder; name another or remove this one"
        )
    recipe = exported.recipe
    if model is not None:
        check_same(model, recipe, str(exported.folder))
        recipe = model
    _check_rows(exported, recipe, tokenizer)
    shown = _showing_images(exported, recipe, tokenizer)
    identity = _identity(exported, recipe, tokenizer)
    tokenizer.save(out / TOKENIZER)
    if model is None:
        text = dump(recipe.model_dump(mode="json", exclude={"stages"}, exclude_none=True))
        (out / f"{recipe.name}.yaml").write_text(text, encoding="utf-8")
    with alone():
        _save(exported, shown, out, identity)


def _showing_images(exported: Exported, recipe: ModelRecipe, tokenizer: Tokenizer) -> ModelRecipe:
    """The recipe with the image token of the weights, or else of the tokenizer."""
    theirs = exported.recipe.vision
    token = None if theirs is None else theirs.image_token
    try:
        recipe = recipe.showing_images_at(token)
        return recipe.showing_images_at(tokenizer.specials.get("image"))
    except ValueError as error:
        raise ConversionError(
            f"{exported.folder}: {error}; name the tokenizer of these weights"
        ) from error


def _check_rows(exported: Exported, recipe: ModelRecipe, tokenizer: Tokenizer) -> None:
    rows = fitting(tokenizer, exported.vocab_size, str(exported.folder))
    if recipe.vocab_size is None and rows != tokenizer.vocab_size:
        raise ConversionError(
            f"{exported.folder}: found an embedding of {rows} rows, model {recipe.name} leaves "
            f"their number to the tokenizer, which has {tokenizer.vocab_size} entries; say "
            f"vocab_size: {rows} in the model's recipe, or name the tokenizer of these weights"
        )


def _identity(exported: Exported, recipe: ModelRecipe, tokenizer: Tokenizer) -> dict[str, Any]:
    """As of a run (:func:`trainer.run.request.identity`), with a stage of one sequence that names
    no mixture."""
    length = exported.positions
    stage = StageRecipe(
        name=STAGE,
        length=length,
        rope_base=exported.recipe.rope_base,
        tokens=length,
        batch=(BatchMark(tokens=length),),
        schedule=Schedule(phases=(Phase(until=length, rate=1.0),)),
    )
    return {
        "model": recipe.model_dump(mode="json", exclude={"stages"}),
        "stage": stage.model_dump(mode="json", exclude={"guard", "layer_guard"}),
        "corpus": None,
        "tokenizer": tokenizer.hash,
        "plan": None,
        "seed": 0,
        "precision": "bf16" if exported.dtype() == torch.bfloat16 else "fp32",
    }


def _save(exported: Exported, recipe: ModelRecipe, out: Path, identity: dict[str, Any]) -> None:
    from trainer.megatron.optimizer import OptimizerSettings, build_optimizer, wrap
    from trainer.models.build import build_model

    precision = identity["precision"]
    model = build_model(
        recipe,
        vocab_size=exported.vocab_size,
        sequence_tokens=exported.positions,
        rope_base=exported.recipe.rope_base,
        parallel=Layout(),
        dtype=DTYPES[precision],
    )
    import_model(exported.folder, model, recipe)
    chunks = wrap([model], model.config)
    optimizer = build_optimizer(chunks, OptimizerSettings(precision=precision))
    state = {"step": STEP, "tokens": 0, "finished": True, "identity": identity}
    checkpoints.save(out / CHECKPOINTS, STEP, chunks, optimizer, state)
