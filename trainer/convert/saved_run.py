"""A training run's folder, as those read it who only want its model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from dataflow.tokenizer import Tokenizer
from trainer.convert.errors import ConversionError
from trainer.convert.tokenizers import TOKENIZER, fitting, tokenizer_beside
from trainer.megatron import checkpoints
from trainer.megatron.start import Layout
from trainer.models.recipe import ModelRecipe
from trainer.run.request import CHECKPOINTS
from trainer.stages.recipe import StageRecipe

if TYPE_CHECKING:
    from trainer.models.language_model import LanguageModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""A run's ``precision`` as the dtype of its weights."""


@dataclass(frozen=True)
class SavedRun:
    """A checkpoint of a run.

    Attributes:
        folder, step: which one.
        recipe, stage: what was trained, and how; the stage has length and rotary base.
        vocab_size: rows of the embedding, without padding.
        tokenizer: None where the folder holds none and none was given.
        dtype: of the weights.
        state: all that the checkpoint says beside the weights.
    """

    folder: Path
    step: int
    recipe: ModelRecipe
    stage: StageRecipe
    vocab_size: int
    tokenizer: Tokenizer | None
    dtype: torch.dtype
    state: dict[str, Any]


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run's: it has checkpoints, whole or not."""
    return (folder / CHECKPOINTS).is_dir()


def open_run(folder: Path, *, step: int | None = None, tokenizer: Path | None = None) -> SavedRun:
    """A run's checkpoint, by what is written about it; no weight is read.

    Args:
        folder: as ``trainer run`` writes it.
        step: of the checkpoint; the last one by default.
        tokenizer: a tokenizer's folder; ``folder/tokenizer`` by default.

    Raises:
        ConversionError: no checkpoint, none of that step, a tokenizer that is not the run's, or
            none where only it says how large the vocabulary is.
        CheckpointBroken, TokenizerError: a file is not what was written, or no checkpoint is whole.
    """
    place = folder / CHECKPOINTS
    if checkpoints.latest(place) is None:
        raise ConversionError(
            f"{folder}: found no checkpoint in {CHECKPOINTS}/, expected a run's folder; a run "
            "writes its first one after --save-every steps, or at its end"
        )
    known = checkpoints.steps(place)
    chosen = known[-1] if step is None else step
    if chosen not in known:
        raise ConversionError(
            f"{folder}: found no checkpoint of step {chosen}, expected one of "
            f"{', '.join(map(str, known))}"
        )
    state = checkpoints.read_state(place, chosen)
    identity = state["identity"]
    recipe = ModelRecipe.model_validate(identity["model"])
    found = tokenizer_beside(folder) if tokenizer is None else Tokenizer.load(tokenizer)
    if found is not None and found.hash != identity["tokenizer"]:
        raise ConversionError(
            f"{tokenizer or folder / TOKENIZER}: found tokenizer {found.hash}, expected "
            f"{identity['tokenizer']}, with which {folder} was trained"
        )
    if recipe.vocab_size is None and found is None:
        raise ConversionError(
            f"{folder}: found no {TOKENIZER}/, expected the tokenizer {identity['tokenizer']}, "
            "which says how large the vocabulary is; name its folder by --tokenizer"
        )
    size = recipe.vocab_size
    if found is not None:
        size = fitting(found, size, str(folder))
    assert size is not None
    return SavedRun(
        folder, chosen, recipe, StageRecipe.model_validate(identity["stage"]), size, found,
        DTYPES[identity["precision"]], state,
    )  # fmt: skip


@contextmanager
def alone() -> Iterator[None]:
    """Process groups of this process only, which Megatron-Core's modules want to be built.

    Raises:
        ConversionError: this is one of several processes.
    """
    from trainer.megatron import start

    world = os.environ.get("WORLD_SIZE", "1")
    if world != "1":
        raise ConversionError(
            f"found WORLD_SIZE {world}, expected one process; start it without torchrun"
        )
    start.start(Layout(), 0)
    try:
        yield
    finally:
        start.stop()


@contextmanager
def loaded(run: SavedRun, device: torch.device | str | None = None) -> Iterator[LanguageModel]:
    """The run's model with its weights; process groups are started and stopped around it.

    ``device``: the GPU where there is one, by default.
    """
    from trainer.models.build import build_model

    with alone():
        model = build_model(
            run.recipe,
            vocab_size=run.vocab_size,
            sequence_tokens=run.stage.length,
            rope_base=run.stage.rope_base,
            parallel=Layout(),
            dtype=run.dtype,
            image_token=None if run.tokenizer is None else run.tokenizer.specials.get("image"),
            device=device,
        )
        # As the chunks of DDP, without its buffers for gradients.
        chunks = [SimpleNamespace(module=model)]
        checkpoints.load(run.folder / CHECKPOINTS, run.step, chunks, None)
        yield model.eval()
