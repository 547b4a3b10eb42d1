"""What ranks do in tests of conversion: each function runs in processes of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch import distributed as dist

from tests.trainer.convert.cases import VOCAB, apart, released_names, transformers_model
from trainer.convert import Checkpoint, export_model, import_model, read_weights
from trainer.convert.layouts import released
from trainer.convert.names import parameters
from trainer.convert.writer import ShardWriter
from trainer.megatron.start import Layout, Ranks, start
from trainer.models.recipe import ModelRecipe
from trainer.reference import Reference

LENGTH = 40


def build(recipe: ModelRecipe, layout: Layout, **stage: Any) -> Any:
    """Our model, with weights of its own."""
    from trainer.models.build import build_model

    return build_model(
        recipe,
        vocab_size=VOCAB,
        sequence_tokens=LENGTH,
        rope_base=recipe.rope_base,
        parallel=layout,
        **stage,
    )


def tokens_of(sequences: int) -> Tensor:
    """int64 ``[sequences, LENGTH]``."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCAB, (sequences, LENGTH), generator=generator)


def export(model: Any, recipe: ModelRecipe, folder: Path, layout: Any = "released") -> None:
    export_model(
        model,
        recipe,
        folder,
        layout=layout,
        max_shard_bytes=20_000,
    )


def against_transformers(recipes: list[ModelRecipe], folder: Path) -> list[dict[str, float]]:
    """Of each recipe: how far logits and each gradient are from transformers' of equal weights.

    The weights go through both: what transformers saves is imported, and what is exported from it
    is loaded by transformers again, to the same bits (``changed``: how many tensors are not).
    """
    from transformers import MiniMaxForCausalLM

    start(Layout(), 7)
    found = []
    for number, recipe in enumerate(recipes):
        saved, written = folder / f"saved-{number}", folder / f"written-{number}"
        theirs = transformers_model(recipe)
        theirs.save_pretrained(saved, max_shard_size="20KB")
        ours = build(recipe, Layout())
        import_model(saved, ours, recipe)
        export(ours, recipe, written, "transformers")
        loaded: Any = MiniMaxForCausalLM.from_pretrained(written, block_size=16)
        # Weights, and the slopes and decays that are not in the files and were derived again.
        before, after = theirs.state_dict(), loaded.state_dict()
        assert before.keys() == after.keys()
        changed = [name for name, one in before.items() if not torch.equal(one, after[name])]

        tokens = tokens_of(2)
        their_logits = theirs(tokens, use_cache=False).logits.flatten(0, 1)
        logits = ours(tokens.flatten())[:, :VOCAB]
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward([(logits * direction).sum(), (their_logits * direction).sum()])
        table = parameters(recipe, VOCAB)
        gradients = {
            key: gradient
            for name, parameter in ours.named_parameters()
            for key, gradient in released(table[name], parameter.grad, recipe)
        }
        expected = released_names({name: one.grad for name, one in theirs.named_parameters()})
        assert gradients.keys() == expected.keys()
        worst = {
            f"gradient {key}": apart(gradients[key], one)
            for key, one in expected.items()
            if one.any()
        }
        found.append({"changed": len(changed), "logits": apart(logits, their_logits), **worst})
    return found


def against_reference(recipes: list[ModelRecipe]) -> list[dict[str, float]]:
    """Of each recipe: how far packed logits and each gradient are from the plain reference's."""
    from trainer.models.segments import pack

    start(Layout(), 7)
    found = []
    for recipe in recipes:
        ours = build(recipe, Layout())
        vary(ours)
        table = parameters(recipe, VOCAB)
        weights = {
            key: tensor.detach().clone().requires_grad_()
            for name, parameter in ours.named_parameters()
            for key, tensor in released(table[name], parameter, recipe)
        }
        tokens = tokens_of(2).flatten()
        ends = torch.tensor([0, 7, 8, 33, 40, 41, 80], dtype=torch.int32)
        expected = Reference(recipe, weights).packed(tokens, ends)
        logits = ours(tokens, packed_seq_params=pack(ends, LENGTH))[:, :VOCAB]
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward([(logits * direction).sum(), (expected * direction).sum()])
        worst = {"logits": apart(logits, expected)}
        for name, parameter in ours.named_parameters():
            for key, gradient in released(table[name], parameter.grad, recipe):
                grad = weights[key].grad
                if grad is not None and grad.any():
                    worst[f"gradient {key}"] = apart(gradient, grad)
        found.append(worst)
    return found


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


def vary(model: Any) -> None:
    """Gains that are not all one."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
