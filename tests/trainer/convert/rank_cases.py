"""What ranks do in tests of conversion: each function runs in processes of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import distributed as dist

from benchmarks.trainer.judges import LENGTH, VOCAB, apart, build, export, tokens_of
from trainer.convert import Checkpoint, export_model, import_model, read_weights
from trainer.convert.layouts import released
from trainer.convert.names import parameters
from trainer.convert.writer import ShardWriter
from trainer.megatron.start import Layout, Ranks, start
from trainer.models.recipe import ModelRecipe
from trainer.reference import Reference


def through_ranks(recipe: ModelRecipe, layout: Layout, folder: Path) -> tuple[float, str]:
    """Imports ``folder/a`` on every rank, exports it to ``folder/b``, and computes.

    Returns:
        How far this rank's logits are from the plain reference's (0 of a stage without a head), and
        what it says of an export to ``folder/c`` in which rank 0 cannot write.
    """
    place = start(layout, 7)
    model = build(
        recipe, layout, pre_process=place.is_first_stage, post_process=place.is_last_stage
    )
    import_model(folder / "a", model, recipe)
    export(model, recipe, folder / "b")
    return logits_apart(model, recipe, place, folder / "a"), failing_export(
        model, recipe, place, folder / "c"
    )


@torch.no_grad()
def logits_apart(model: Any, recipe: ModelRecipe, place: Ranks, weights: Path) -> float:
    tokens, layout = tokens_of(2), place.layout
    stage = place.world // layout.pp
    if not place.is_first_stage:
        # With sequence parallelism a stage hands on this rank's part of the tokens.
        hidden = torch.empty(tokens.numel() // layout.tp, 1, recipe.hidden)
        dist.recv(hidden, place.rank - stage)
        model.set_input_tensor(hidden)
    found = model(tokens.flatten())
    if not place.is_last_stage:
        dist.send(found.contiguous(), place.rank + stage)
        return 0.0
    table = parameters(recipe, VOCAB)
    tensors = {
        key: tensor
        for name, one in read_weights(Checkpoint(weights), recipe, vocab_size=VOCAB)
        for key, tensor in released(table[name], one, recipe)
    }
    expected = Reference(recipe, tensors).forward(tokens).flatten(0, 1)
    rows = found.shape[1]
    here = expected[:, place.tp_rank * rows : (place.tp_rank + 1) * rows]
    return apart(found[:, : here.shape[1]], here)


def failing_export(model: Any, recipe: ModelRecipe, place: Ranks, folder: Path) -> str:
    calls = 0

    def full(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise OSError("No space left on device")

    with mock.patch.object(ShardWriter, "write", full if place.rank == 0 else None):
        try:
            export(model, recipe, folder)
        except (OSError, ValueError) as error:
            return str(error)
    return "written"


def refusals(recipe: ModelRecipe, folder: Path) -> list[str]:
    """What is said to a model of another vocabulary, of another recipe, and to no model.

    The last: to an export of fewer entries than the model has.
    """
    from trainer.models.build import build_model

    start(Layout(), 7)
    sizes: dict[str, Any] = {"sequence_tokens": LENGTH, "rope_base": 1e4, "parallel": Layout()}
    larger = build_model(recipe, vocab_size=VOCAB + 1, **sizes)
    other = recipe.model_copy(update={"alpha": 1.25})
    tries: list[tuple[Any, ModelRecipe]] = [(larger, recipe), (larger, other)]
    tries += [(build(other, Layout()), recipe), (torch.nn.Linear(1, 1), recipe)]
    said = []
    for model, taken in tries:
        try:
            import_model(folder, model, taken)
        except (ValueError, TypeError) as error:
            said.append(str(error))
    try:
        values: dict[str, Any] = {"layout": "released", "vocab_size": VOCAB - 1}
        export_model(build(recipe, Layout()), recipe, folder.parent / "out", **values)
    except ValueError as error:
        said.append(str(error))
    return said
