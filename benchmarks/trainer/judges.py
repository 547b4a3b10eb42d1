"""Our model beside its judges, on the same small weights: transformers' model, and the reference.

Functions that call ``trainer.megatron.start.start`` are for a process that has not; stop it after.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.trainer.margins import MARGIN, margins
from trainer.convert import export_model, import_model
from trainer.convert.config import write_config
from trainer.convert.layouts import released
from trainer.convert.names import parameters
from trainer.megatron.start import Layout, start
from trainer.models.recipe import AuxLoss, Experts, ModelRecipe
from trainer.models.segments import Packed, pack
from trainer.reference import Reference, Slopes, released_slopes, transformers_slopes

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


def tokens_of(sequences: int, seed: int = 1) -> Tensor:
    """int64 ``[sequences, LENGTH]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (sequences, LENGTH), generator=generator)


def decided_tokens(model: Any, packed: Packed | None = None) -> Tensor:
    """The first two sequences of which our model's routers decide nothing closely, int64 ``[2,
    LENGTH]``: where rounding chose the experts, a difference would say nothing.

    ``packed``: their boundaries, where they are not the sequences' own.
    """
    for seed in count(1):
        tokens = tokens_of(2, seed)
        with torch.no_grad(), margins() as found:
            model(tokens.flatten(), packed_seq_params=packed)
        if found.choices >= MARGIN:
            found.check()
            return tokens
    raise AssertionError("count ends")


def export(model: Any, recipe: ModelRecipe, folder: Path, layout: Any = "released") -> None:
    export_model(
        model,
        recipe,
        folder,
        layout=layout,
        max_shard_bytes=20_000,
    )


def against_transformers(recipes: list[ModelRecipe], folder: Path) -> list[dict[str, float]]:
    """Of each recipe: how far logits and each gradient are from transformers' of equal weights;
    and how far ``ours`` and ``theirs`` are from the same in float64 (``trainer.reference``, with
    the decays of each).

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

        tokens = decided_tokens(ours)
        their_logits = theirs(tokens, use_cache=False).logits.flatten(0, 1)
        logits = ours(tokens.flatten())[:, :VOCAB]
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward([(logits * direction).sum(), (their_logits * direction).sum()])
        gradients = gradients_of(ours, recipe)
        expected = released_names({name: one.grad for name, one in theirs.named_parameters()})
        assert gradients.keys() == expected.keys()
        worst = {
            f"gradient {key}": apart(gradients[key], one)
            for key, one in expected.items()
            if one.any()
        }
        weights = released_names(dict(theirs.named_parameters()))
        for whose, mine, grads, slopes in (
            ("ours", logits, gradients, released_slopes),
            ("theirs", their_logits, expected, transformers_slopes),
        ):
            exact, exact_grads = in_float64(recipe, weights, slopes, tokens, direction)
            worst[f"{whose}, logits from float64"] = apart(mine.double(), exact)
            worst[f"{whose}, gradients from float64"] = worst_apart(grads, exact_grads)
        found.append({"changed": len(changed), "logits": apart(logits, their_logits), **worst})
    return found


def gradients_of(model: Any, recipe: ModelRecipe) -> dict[str, Tensor]:
    """Our model's, under their released names."""
    table = parameters(recipe, VOCAB)
    return {
        key: gradient
        for name, parameter in model.named_parameters()
        for key, gradient in released(table[name], parameter.grad, recipe)
    }


def worst_apart(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> float:
    """How far the worst tensor is from its like in float64."""
    return max(apart(found[key].double(), one) for key, one in exact.items() if one.any())


def orders_from_float64(recipe: ModelRecipe, folder: Path, orders: int) -> dict[str, list[float]]:
    """How far the worst gradient is from float64, for one model with the features of its experts
    in several orders: that changes in which order numbers are added up, and nothing else.

    Of ``ours``, ``theirs``, and the plain ``reference`` in float32.
    """
    start(Layout(), 7)
    theirs, ours = transformers_model(recipe), build(recipe, Layout())
    found: dict[str, list[float]] = {"ours": [], "theirs": [], "reference": []}
    tokens: Tensor | None = None
    for order in range(orders):
        if order:
            shuffle_experts(theirs, order)
        saved = folder / f"order-{order}"
        theirs.save_pretrained(saved)
        import_model(saved, ours, recipe)
        tokens = decided_tokens(ours) if tokens is None else tokens
        plain = {
            name: one.detach().clone().requires_grad_()
            for name, one in released_names(dict(theirs.named_parameters())).items()
        }
        ours.zero_grad()
        theirs.zero_grad()
        logits = [
            ours(tokens.flatten())[:, :VOCAB],
            theirs(tokens, use_cache=False).logits.flatten(0, 1),
            Reference(recipe, plain).forward(tokens).flatten(0, 1),
        ]
        direction = torch.randn(logits[0].shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward([(one * direction).sum() for one in logits])
        of_theirs = released_names({name: one.grad for name, one in theirs.named_parameters()})
        of_plain = {name: one.grad for name, one in plain.items() if one.grad is not None}
        for whose, grads, slopes in (
            ("ours", gradients_of(ours, recipe), released_slopes),
            ("theirs", of_theirs, transformers_slopes),
            ("reference", of_plain, released_slopes),
        ):
            exact = in_float64(recipe, plain, slopes, tokens, direction)[1]
            found[whose].append(worst_apart(grads, exact))
    return found


@torch.no_grad()
def shuffle_experts(model: Any, seed: int) -> None:
    """Put the features inside each expert of transformers' model into another order."""
    generator = torch.Generator().manual_seed(seed)
    for block in model.model.layers:
        both, down = block.mlp.experts.gate_up_proj, block.mlp.experts.down_proj
        for e in range(len(both)):
            order = torch.randperm(down.shape[2], generator=generator)
            both[e] = torch.cat([half[order] for half in both[e].chunk(2)])
            down[e] = down[e][:, order]


def in_float64(
    recipe: ModelRecipe,
    weights: Mapping[str, Tensor],
    slopes: Slopes,
    tokens: Tensor,
    direction: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits ``[tokens, V]`` of the plain reference and its gradients of ``logits · direction``."""
    exact = {name: one.detach().double().requires_grad_() for name, one in weights.items()}
    logits = Reference(recipe, exact, slopes=slopes).forward(tokens).flatten(0, 1)
    (logits * direction).sum().backward()  # type: ignore[no-untyped-call]
    return logits.detach(), {
        name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in exact.items()
    }


def against_reference(recipes: list[ModelRecipe]) -> list[dict[str, float]]:
    """Of each recipe: how far packed logits and each gradient are from the plain reference's."""
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
        ends = torch.tensor([0, 7, 8, 33, 40, 41, 80], dtype=torch.int32)
        packed = pack(ends, LENGTH)
        tokens = decided_tokens(ours, packed).flatten()
        expected = Reference(recipe, weights).packed(tokens, ends)
        logits = ours(tokens, packed_seq_params=packed)[:, :VOCAB]
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
