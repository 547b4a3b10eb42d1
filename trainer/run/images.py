"""What a run checks about images before it shows any."""

from __future__ import annotations

import numpy as np

from dataflow.run import Run
from mixtures.documents import walk
from trainer.models.recipe import ModelRecipe
from trainer.run.request import RunRefused
from trainer.stages.recipe import StageRecipe
from vl_data.tiling import tiling_of


def check_tiling(model: ModelRecipe, stage: StageRecipe) -> None:
    """Check that a stage's images can be shown to a model.

    Raises:
        RunRefused: the model has no vision tower, or one of other tiles.
    """
    if stage.tiling is None:
        return
    if model.vision is None:
        raise RunRefused(
            f"stage {stage.name} shows images by tiling {stage.tiling}: found model {model.name} "
            "without a vision block, expected one that has it, such as tiny-vl"
        )
    tiling, vision = tiling_of(stage.tiling), model.vision
    if (tiling.tile, tiling.patch) != (vision.tile, vision.patch):
        raise RunRefused(
            f"stage {stage.name}: found tiling {stage.tiling} with tiles of {tiling.tile} pixels "
            f"and patches of {tiling.patch}, model {model.name} has {vision.tile} and "
            f"{vision.patch}; say stages.tilings in the model's recipe"
        )


def pictured_sources(run: Run) -> frozenset[str]:
    """The sources of a run of which a document has images. Memory: the index of one shard."""
    found: set[str] = set()
    for shard in walk(run, ["source", "images"]):
        rows = np.flatnonzero(shard.images)
        if len(rows):
            found |= set(shard.table["source"].take(rows).unique().to_pylist())
    return frozenset(found)
