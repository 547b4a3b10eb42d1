"""Reading prompts at once, and token by token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from trainer.generation.decoder import Decoder
from trainer.generation.sampling import Sampling, continue_prompts
from trainer.models.recipe import Experts, ModelRecipe
from trainer.reference import Reference

VOCABULARY = 61


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(**changes: object) -> ModelRecipe:
    sizes = {
        "name": "small", "layers": 4, "hidden": 32, "heads": 4, "head_dim": 16, "kv_heads": 2,
        "mixers": ("lightning", "lightning", "lightning", "softmax"), "rotary_dim": 8,
        "experts": Experts(count=4, top_k=2, ffn=24),
    }  # fmt: skip
    return ModelRecipe.model_validate({**sizes, **changes})


def weights(recipe: ModelRecipe, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random ones under the released names, norms about one."""
    draw = torch.Generator().manual_seed(seed)
    h, inner = recipe.hidden, recipe.heads * recipe.head_dim
    shared = recipe.kv_heads * recipe.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (VOCABULARY, h), "lm_head": (VOCABULARY, h), "model.norm": (h,)
    }  # fmt: skip
    for n in range(recipe.layers):
        layer = f"model.layers.{n}"
        shapes[f"{layer}.input_layernorm"] = shapes[f"{layer}.post_attention_layernorm"] = (h,)
        attention = f"{layer}.self_attn"
        if recipe.mixer_of(n) == "lightning":
            shapes[f"{attention}.qkv_proj"] = (3 * inner, h)
            shapes[f"{attention}.output_gate"] = (inner, h)
            shapes[f"{attention}.norm"] = (inner,)
            shapes[f"{attention}.out_proj"] = (h, inner)
        else:
            shapes[f"{attention}.q_proj"] = (inner, h)
            shapes[f"{attention}.k_proj"] = shapes[f"{attention}.v_proj"] = (shared, h)
            shapes[f"{attention}.o_proj"] = (h, inner)
        shapes[f"{layer}.block_sparse_moe.gate"] = (recipe.experts.count, h)
        for e in range(recipe.experts.count):
            expert = f"{layer}.block_sparse_moe.experts.{e}"
            shapes[f"{expert}.w1"] = shapes[f"{expert}.w3"] = (recipe.experts.ffn, h)
            shapes[f"{expert}.w2"] = (h, recipe.experts.ffn)
    return {
        f"{name}.weight": torch.randn(shape, generator=draw) * shape[-1] ** -0.5
        if len(shape) > 1
        else 1 + 0.1 * torch.randn(shape, generator=draw)
        for name, shape in shapes.items()
    }


@pytest.fixture(params=["deepnorm", "pre"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    recipe = small(residual=request.param)
    return Decoder(recipe, weights(recipe), 10_000.0)


def tokens(*lengths: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(VOCABULARY, (n,), generator=draw) for n in lengths]


def test_a_prompt_has_the_logits_of_the_plain_model(decoder: Decoder) -> None:
    plain = Reference(decoder.recipe, dict(decoder.weights), 10_000.0)
    prompts = tokens(70, 3, 33)
    _, found = decoder.prefill(prompts)
    for row, prompt in enumerate(prompts):
        wanted = plain.forward(prompt[None])[0, -1]
        torch.testing.assert_close(found[row], wanted, rtol=1e-4, atol=1e-4)


def test_tokens_read_one_by_one_give_the_logits_of_the_whole(decoder: Decoder) -> None:
    prompts = tokens(70, 3, 33)
    _, whole = decoder.prefill(prompts)
    memory, found = decoder.prefill([p[:2] for p in prompts])
    rows = []
    for n in range(2, 70):
        found = decoder.step(memory, torch.stack([p[min(n, len(p) - 1)] for p in prompts]))
        rows.append(found)
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(rows[len(prompt) - 3][row], whole[row], rtol=1e-4, atol=1e-4)


def test_rows_of_a_batch_do_not_touch_each_other(decoder: Decoder) -> None:
    prompts = tokens(9, 40, 1)
    _, together = decoder.prefill(prompts)
    for row, prompt in enumerate(prompts):
        _, alone = decoder.prefill([prompt])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-5)


def test_scores_are_those_of_reading_on(decoder: Decoder) -> None:
    prompts = tokens(12, 5)
    scores = decoder.score(prompts)
    for prompt, found in zip(prompts, scores, strict=True):
        memory, logits = decoder.prefill([prompt[:1]])
        for n, score in enumerate(found):
            wanted = logits.log_softmax(-1)[0, prompt[n + 1]]
            torch.testing.assert_close(score, wanted, rtol=1e-4, atol=1e-4)
            logits = decoder.step(memory, prompt[n + 1 : n + 2])


def test_lightning_layers_alone_hold_the_same_memory_for_any_text() -> None:
    recipe = small(mixers=("lightning",))
    decoder = Decoder(recipe, weights(recipe), 10_000.0)
    memory, _ = decoder.prefill(tokens(5))
    before = memory.bytes()
    for _ in range(50):
        decoder.step(memory, torch.tensor([3]))
    assert memory.bytes() == before == 4 * 4 * 16 * 16 * 4  # layers, heads, d, d, float32
    long, _ = decoder.prefill(tokens(500))
    assert long.bytes() == before


def test_a_prompt_without_tokens_is_refused(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="expected one or more"):
        decoder.prefill([torch.tensor([1]), torch.tensor([], dtype=torch.int64)])


def test_rows_end_where_they_stop_and_draw_alone_what_they_draw_together(decoder: Decoder) -> None:
    prompts, sampling = tokens(4, 11, 7), Sampling(temperature=1.5, seed=5)

    def continued(chosen: list[torch.Tensor]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        stop = frozenset(range(0, VOCABULARY, 7))
        for step in continue_prompts(decoder, chosen, most=20, stop=stop, sampling=sampling):
            for row, token in step:
                found.setdefault(row, []).append(token)
        return found

    together = continued(prompts)
    for drawn in together.values():
        assert all(t % 7 for t in drawn[:-1])
        assert len(drawn) == 20 or drawn[-1] % 7 == 0
    assert continued(prompts[:1])[0] == together[0]
