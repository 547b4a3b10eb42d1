"""Our model beside its judges, on the same small weights: transformers' model, and the reference.

Functions that call ``trainer.megatron.start.start`` are for a process that has not; stop it after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainer.convert import export_model, import_model
from trainer.convert.config import write_config
from trainer.convert.layouts import released
from trainer.convert.names import parameters
from trainer.megatron.start import Layout, start
from trainer.models.recipe import AuxLoss, Experts, ModelRecipe
from trainer.reference import Reference

VOCAB = 75
LENGTH = 40
"""Tokens of a sequence."""


def recipe_of(
    layers: int = 3,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 8,
    hidden: int = 24,
    mixers: tuple[str, ...] = ("lightning", "softmax"),
    experts: tuple[int, int, int] = (4, 2, 20),
    **rest: Any,
) -> ModelRecipe:
    """A small recipe with full rotary, whose router is not balanced: its judges have no such loss.

    ``experts`` are count, top_k and ffn.
    """
    count, top_k, ffn = experts
    return ModelRecipe(
        name="small",
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=hidden,
        mixers=mixers,
        experts=Experts(count=count, top_k=top_k, ffn=ffn, aux_loss=AuxLoss(coefficient=0)),
        rotary_dim=rest.pop("rotary_dim", head_dim),
        **rest,
    )


def transformers_model(recipe: ModelRecipe, *, vocab: int = VOCAB, seed: int = 0) -> Any:
    """transformers' model of a recipe, float32, with random weights and norm weights around 1.

    Larger weights make larger of float32's rounding than 1e-6, in their model as in ours.
    """
    # Imported here: it takes seconds, and most ranks of the tests do without.
    from transformers import MiniMaxConfig, MiniMaxForCausalLM

    config = write_config(
        recipe, "transformers", vocab_size=vocab, rope_base=recipe.rope_base, positions=512
    )
    torch.manual_seed(seed)
    # Their block is shorter than the tests' sequences, so that several are joined by a state.
    model = cast(Any, MiniMaxForCausalLM)(MiniMaxConfig(**config, block_size=16)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn(parameter.shape))
            else:
                parameter.copy_(torch.randn(parameter.shape) * (0.7 / parameter.shape[-1] ** 0.5))
    return model


def released_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' tensors in memory (fused experts) under their released names, as views."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        theirs = name.replace(".mlp.", ".block_sparse_moe.")
        if theirs.endswith("experts.gate_up_proj"):
            for e, both in enumerate(tensor):
                stem = f"{theirs.removesuffix('.gate_up_proj')}.{e}"
                found[f"{stem}.w1.weight"], found[f"{stem}.w3.weight"] = both.chunk(2)
        elif theirs.endswith("experts.down_proj"):
            stem = theirs.removesuffix(".down_proj")
            found |= {f"{stem}.{e}.w2.weight": down for e, down in enumerate(tensor)}
        else:
            found[theirs] = tensor
    return found


def apart(a: Tensor, b: Tensor) -> float:
    """``max|a - b| / max|b|``."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())


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


def vary(model: Any) -> None:
    """Gains that are not all one."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
