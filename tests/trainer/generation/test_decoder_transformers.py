"""The decoder against transformers' cached generation, logits at every step."""

from __future__ import annotations

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
from trainer.generation.decoder import Decoder
from trainer.models.recipe import ModelRecipe

# Full rotary, and heads a power of two: transformers has no other of either.
SIZES = {
    "two layers": recipe_of(layers=2),
    "seven to one": recipe_of(layers=8, mixers=("lightning",) * 7 + ("softmax",), hidden=32),
    "wide": recipe_of(layers=4, heads=8, kv_heads=1, head_dim=16, hidden=96, experts=(8, 3, 48)),
    "softmax first": recipe_of(layers=4, mixers=("softmax", "lightning"), alpha=1.25),
    "all lightning": recipe_of(mixers=("lightning",), experts=(3, 2, 32)),
    "all softmax": recipe_of(mixers=("softmax",), kv_heads=4, rope_base=500_000.0),
}
LENGTHS, STEPS = (21, 1, 34), 24
"""Of the prompts, on both sides of transformers' block of 16 tokens; and tokens that follow."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """These tensors are too small to share."""
    torch.set_num_threads(1)


@pytest.fixture(params=list(SIZES))
def recipe(request: pytest.FixtureRequest) -> ModelRecipe:
    return SIZES[request.param]


def judged(recipe: ModelRecipe) -> tuple[Any, Decoder]:
    """transformers' model, and the decoder of its weights."""
    model = transformers_model(recipe)
    weights = released_names({name: one.detach() for name, one in model.named_parameters()})
    return model, Decoder(recipe, weights, recipe.rope_base)


def tokens_of(length: int, seed: int) -> torch.Tensor:
    return torch.randint(VOCAB, (length,), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_every_step_has_the_logits_of_transformers(recipe: ModelRecipe) -> None:
    """Prompts of any lengths together; of transformers each alone, by its cache."""
    model, decoder = judged(recipe)
    prompts = [tokens_of(length, 1 + row) for row, length in enumerate(LENGTHS)]
    following = torch.stack([tokens_of(STEPS, 10 + row) for row in range(len(prompts))])
    memory, logits = decoder.prefill(prompts)
    found = [logits, *(decoder.step(memory, column) for column in following.T)]
    for row, prompt in enumerate(prompts):
        expected = cached(model, prompt, following[row])
        assert len(expected) == len(found) == STEPS + 1
        for step, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            assert apart(ours[row], theirs) < 1e-5, f"row {row}, step {step}"


def cached(model: Any, prompt: torch.Tensor, following: torch.Tensor) -> list[torch.Tensor]:
    """transformers' logits ``[V]`` behind the prompt and behind each of the tokens after it."""
    answer = model(prompt[None], use_cache=True)
    found = [answer.logits[0, -1]]
    for position, token in enumerate(following, len(prompt)):
        # Their cache counts positions by the keys of layer 0: none, where it is lightning.
        answer = model(
            token.view(1, 1),
            use_cache=True,
            past_key_values=answer.past_key_values,
            position_ids=torch.tensor([[position]]),
        )
        found.append(answer.logits[0, -1])
    return found


@torch.no_grad()
def test_a_text_that_transformers_wrote_has_its_logits(recipe: ModelRecipe) -> None:
    """Its own loop, ``generate``, greedily: the logits that it chose each token by."""
    model, decoder = judged(recipe)
    prompt = tokens_of(21, 3)
    answer = model.generate(
        prompt[None],
        max_new_tokens=STEPS,
        do_sample=False,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_logits=True,
    )
    written = answer.sequences[0, len(prompt) :]
    assert len(written) == STEPS
    memory, logits = decoder.prefill([prompt])
    for token, theirs in zip(written, answer.logits, strict=True):
        assert apart(logits[0], theirs[0]) < 1e-5
        logits = decoder.step(memory, token.view(1))
