"""The plain reference against transformers' ``MiniMaxForCausalLM``, and against itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.trainer.judges import (
    VOCAB,
    apart,
    recipe_of,
    released_names,
    transformers_model,
)
from kernels.lightning.slopes import alibi_slopes, hugging_face_slopes
from trainer.models.recipe import ModelRecipe
from trainer.reference import Reference, State, released_slopes, transformers_slopes

SIZES = {
    "two layers": recipe_of(layers=2),
    "deep": recipe_of(layers=8, mixers=("lightning",) * 7 + ("softmax",), hidden=32),
    "wide": recipe_of(layers=4, heads=8, kv_heads=1, head_dim=16, hidden=96, experts=(8, 3, 48)),
    "all lightning": recipe_of(mixers=("lightning",), experts=(3, 2, 32)),
    "all softmax": recipe_of(mixers=("softmax",), kv_heads=4, rope_base=500_000.0),
    "alpha": recipe_of(alpha=1.25, norm_eps=1e-3),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """These tensors are too small to share."""
    torch.set_num_threads(1)


@pytest.fixture(params=list(SIZES))
def recipe(request: pytest.FixtureRequest) -> ModelRecipe:
    return SIZES[request.param]


def judged(recipe: ModelRecipe) -> tuple[Any, Reference]:
    """transformers' model, and ours with copies of its weights."""
    model = transformers_model(recipe)
    weights = released_names({name: one.detach() for name, one in model.named_parameters()})
    copies = {name: one.clone().requires_grad_() for name, one in weights.items()}
    return model, Reference(recipe, copies, slopes=transformers_slopes)


def tokens_of(batch: int, length: int) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))


def test_equals_transformers(recipe: ModelRecipe) -> None:
    """Logits to 1e-6 of the largest, gradients to 1e-4 of each tensor's largest."""
    model, reference = judged(recipe)
    tokens = tokens_of(2, 53)
    theirs, ours = model(tokens, use_cache=False).logits, reference.forward(tokens)
    assert apart(ours, theirs) < 1e-6
    direction = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(2))
    torch.autograd.backward([(theirs * direction).sum(), (ours * direction).sum()])
    gradients = released_names({name: one.grad for name, one in model.named_parameters()})
    assert gradients.keys() == reference.weights.keys()
    for name, weight in reference.weights.items():
        if gradients[name].any():
            assert weight.grad is not None
            assert apart(weight.grad, gradients[name]) < 1e-4, name


@torch.no_grad()
def test_decodes_as_transformers(recipe: ModelRecipe) -> None:
    """A prompt, then one token at a time, both by their states."""
    model, reference = judged(recipe)
    tokens = tokens_of(2, 37)
    answer = model(tokens[:, :21], use_cache=True)
    logits, state = reference.decode(tokens[:, :21], reference.start(2))
    assert apart(logits, answer.logits) < 1e-6
    for t in range(21, 37):
        # Their cache counts positions by the keys of layer 0: none, where it is lightning.
        answer = model(
            tokens[:, t : t + 1],
            use_cache=True,
            past_key_values=answer.past_key_values,
            position_ids=torch.full((2, 1), t),
        )
        logits, state = reference.decode(tokens[:, t : t + 1], state)
        assert apart(logits, answer.logits) < 1e-5
    assert state.position == 37


@torch.no_grad()
@pytest.mark.parametrize("rotary_dim", [2, 4, 8])
@pytest.mark.parametrize("residual", ["deepnorm", "pre"])
def test_states_carry_everything(rotary_dim: int, residual: str) -> None:
    """In float64, any cut of a sequence gives the logits of the whole."""
    recipe = recipe_of(rotary_dim=rotary_dim, residual=residual)
    reference = double(recipe)
    tokens = tokens_of(2, 19)
    whole = reference.forward(tokens)
    state, parts = reference.start(2), []
    for start, end in [(0, 5), (5, 6), (6, 6), (6, 19)]:
        if start < end:
            part, state = reference.decode(tokens[:, start:end], state)
            parts.append(part)
    assert apart(torch.cat(parts, 1), whole) < 1e-13


@torch.no_grad()
def test_half_rotary_turns_half_the_head() -> None:
    """A model of full rotary whose other features are all zero: as half rotary on half the head."""
    whole = recipe_of(layers=1, mixers=("softmax",), head_dim=8, kv_heads=4)
    full, half = double(whole), double(whole.model_copy(update={"rotary_dim": 4}))
    # With full rotary feature j turns with j + 4, by base^(-2j/8); with half, by base^(-2j/4), with
    # j + 2. A base squared and the features moved make the second of the first.
    weights = dict(full.weights)
    for part in ("q_proj", "k_proj"):
        name = f"model.layers.0.self_attn.{part}.weight"
        heads = torch.unflatten(weights[name], 0, (-1, 8)).clone()
        heads[:, [2, 3, 6, 7]] = 0
        weights[name] = heads.flatten(0, 1)
    moved = dict(weights)
    for part in ("q_proj", "k_proj"):
        name = f"model.layers.0.self_attn.{part}.weight"
        heads = torch.unflatten(weights[name], 0, (-1, 8))
        moved[name] = heads[:, [0, 1, 4, 5, 2, 3, 6, 7]].flatten(0, 1)
    tokens = tokens_of(1, 30)
    a = replace(full, weights=weights, rope_base=10_000.0).forward(tokens)
    b = replace(half, weights=moved, rope_base=100.0).forward(tokens)
    assert apart(a, b) < 1e-13
    # And it is no accident: what is not turned, and what is, do matter.
    assert apart(replace(half, weights=moved, rope_base=10_000.0).forward(tokens), b) > 1e-3
    assert apart(half.forward(tokens), full.forward(tokens)) > 1e-3


@torch.no_grad()
def test_packed_sequences_do_not_see_each_other() -> None:
    reference = double(recipe_of())
    tokens = tokens_of(1, 20)[0]
    ends = torch.tensor([0, 7, 7, 8, 20])
    logits = reference.packed(tokens, ends)
    assert logits.shape == (20, VOCAB)
    changed = tokens.clone()
    changed[3] = (changed[3] + 1) % VOCAB
    moved = (reference.packed(changed, ends) != logits).any(1)
    assert moved[3:7].all()
    assert not moved[:3].any()
    assert not moved[7:].any()


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 64])
def test_slopes(heads: int) -> None:
    """As the kernels' formulas, which have judges of their own."""
    for layers in (1, 2, 80):
        for layer in {0, layers // 2, layers - 1}:
            ours = released_slopes(heads, layer, layers)
            torch.testing.assert_close(ours.float(), alibi_slopes(heads, layer, layers))
            theirs = transformers_slopes(heads, layer, layers)
            torch.testing.assert_close(theirs.float(), hugging_face_slopes(heads, layer, layers))


def test_state_is_of_constant_size_in_lightning_layers() -> None:
    reference = double(recipe_of(mixers=("lightning",)))
    with torch.no_grad():
        _, state = reference.decode(tokens_of(2, 9), reference.start(2))
    assert isinstance(state, State)
    assert {tuple(one.shape) for one in state.layers if isinstance(one, torch.Tensor)} == {
        (2, 4, 8, 8)
    }


def double(recipe: ModelRecipe) -> Reference:
    """A reference of random float64 weights."""
    model = transformers_model(
        recipe.model_copy(update={"rotary_dim": recipe.head_dim, "residual": "deepnorm"})
    )
    weights = {name: one.detach().double() for name, one in model.named_parameters()}
    return Reference(recipe, released_names(weights))
