"""A decoder from a folder: of a training run, or exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from dataflow.tokenizer import Tokenizer
from trainer.convert.config import FILE
from trainer.convert.exported import open_exported
from trainer.convert.layouts import released
from trainer.convert.models import local_parameters
from trainer.convert.names import parameters, text_key
from trainer.convert.saved_run import is_run, loaded, open_run
from trainer.generation.decoder import Decoder
from trainer.generation.errors import GenerationError
from trainer.generation.pictures import fitting_tiling
from trainer.generation.vision_encoder import VisionEncoder
from trainer.models.recipe import ModelRecipe


@dataclass(frozen=True)
class About:
    """What was opened.

    Attributes:
        folder: as it was named.
        kind: "run" or "exported".
        model: the recipe's name.
        step, stage: of the checkpoint; None of an export.
        positions: the length that it was trained for.
        rope_base: of the stage that the weights come from.
        vocab_size: rows of the head.
        dtype, device: of the weights.
        ends: ids after which a text ends, in their order.
        tiling: by which images are shown; None of a model without a vision tower.
    """

    folder: str
    kind: Literal["run", "exported"]
    model: str
    step: int | None
    stage: str | None
    positions: int
    rope_base: float
    vocab_size: int
    dtype: str
    device: str
    ends: tuple[int, ...]
    tiling: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def open_decoder(
    folder: Path,
    *,
    step: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    tokenizer: Path | None = None,
    tiling: str | None = None,
) -> tuple[Decoder, Tokenizer | None, About]:
    """The decoder of a run's checkpoint or of an exported model, and its tokenizer.

    Args:
        folder: what ``trainer run`` wrote, or one with ``config.json`` and safetensors.
        step: of the checkpoint; the last one by default.
        device: the GPU where there is one, by default.
        dtype: weights are rounded to it; by default they are as stored.
        tokenizer: its folder; ``folder/tokenizer`` by default.
        tiling: by which images are shown to a model with a vision tower; by default that of the
            run's stage, where it showed images, else the one that the model's recipe names.

    Raises:
        GenerationError: the folder is neither, or a step is asked of an export, or a tiling does
            not fit the model.
        ConversionError, CheckpointBroken, TokenizerError: what is in it cannot be used.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if is_run(folder):
        return _of_run(folder, step, where, dtype, tokenizer, tiling)
    if not (folder / FILE).is_file():
        raise GenerationError(
            f"{folder}: found neither checkpoints/ nor {FILE}, expected a run's folder or an "
            "exported model"
        )
    if step is not None:
        raise GenerationError(f"{folder}: found an exported model, expected a run to have steps")
    return _of_export(folder, where, dtype, tokenizer, tiling)


def _of_run(
    folder: Path,
    step: int | None,
    device: torch.device,
    dtype: torch.dtype | None,
    tokenizer: Path | None,
    tiling: str | None,
) -> tuple[Decoder, Tokenizer | None, About]:
    run = open_run(folder, step=step, tokenizer=tokenizer)
    table = parameters(run.recipe, run.vocab_size)
    with loaded(run, device) as model:
        weights = {
            key: part.detach().to(dtype or part.dtype)
            for name, whole in local_parameters(model).items()
            for key, part in released(table[name], whole, run.recipe)
        }
    image_token = None if run.tokenizer is None else run.tokenizer.specials.get("image")
    recipe = run.recipe.showing_images_at(image_token)
    decoder = _decoder(recipe, weights, run.stage.rope_base, tiling, run.stage.tiling)
    ends = () if run.tokenizer is None else (run.tokenizer.eod,)
    about = About(
        str(folder), "run", run.recipe.name, run.step, run.stage.name, run.stage.length,
        run.stage.rope_base, run.vocab_size, str(decoder.dtype).removeprefix("torch."),
        str(decoder.device), ends, _tiling_of(decoder),
    )  # fmt: skip
    return decoder, run.tokenizer, about


def _of_export(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    tokenizer: Path | None,
    tiling: str | None,
) -> tuple[Decoder, Tokenizer | None, About]:
    found = open_exported(folder, tokenizer=tokenizer)
    kind = dtype or found.dtype()
    weights = {
        key: found.checkpoint.read(key).to(device, kind)
        for key in found.checkpoint.keys()  # noqa: SIM118 - no mapping
    }
    decoder = _decoder(found.recipe, weights, found.recipe.rope_base, tiling, None)
    ends = found.ends | ({found.tokenizer.eod} if found.tokenizer is not None else set())
    about = About(
        str(folder), "exported", found.recipe.name, None, None, found.positions,
        found.recipe.rope_base, found.vocab_size, str(decoder.dtype).removeprefix("torch."),
        str(decoder.device), tuple(sorted(ends)), _tiling_of(decoder),
    )  # fmt: skip
    return decoder, found.tokenizer, about


def _decoder(
    recipe: ModelRecipe,
    weights: Mapping[str, torch.Tensor],
    rope_base: float,
    tiling: str | None,
    trained: str | None,
) -> Decoder:
    """The decoder, with the part that sees where the recipe has one."""
    text = {bare: one for key, one in weights.items() if (bare := text_key(key)) is not None}
    if recipe.vision is None:
        if tiling is not None:
            raise GenerationError(
                f"--tiling {tiling}: found model {recipe.name} without a vision tower, expected "
                "one that is shown images"
            )
        return Decoder(recipe, text, rope_base)
    sees = {key: one for key, one in weights.items() if text_key(key) is None}
    name = fitting_tiling(recipe.vision, tiling, trained)
    return Decoder(recipe, text, rope_base, VisionEncoder(recipe, sees, name))


def _tiling_of(decoder: Decoder) -> str | None:
    return None if decoder.vision is None else decoder.vision.tiling
