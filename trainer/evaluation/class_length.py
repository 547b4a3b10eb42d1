"""L1: what the length classes of documents are relative to, where a model was trained with one."""

from __future__ import annotations

from pathlib import Path

from trainer.evaluation.corpus_loss import L1
from trainer.generation.loading import About
from trainer.megatron import checkpoints
from trainer.run.request import CHECKPOINTS
from trainer.stages.recipe import StageRecipe


def class_length_of(about: About) -> int:
    """L1 of the stage that a run's checkpoint was written in; MiniMax-01's for an exported
    model, whose files do not tell.

    Raises
    ------
    CheckpointBroken
        If the checkpoint is no longer there.
    """
    if about.kind == "exported" or about.step is None:
        return L1
    state = checkpoints.read_state(Path(about.folder) / CHECKPOINTS, about.step)
    return StageRecipe.model_validate(state["identity"]["stage"]).class_length
