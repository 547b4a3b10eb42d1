"""Our model against its judges, and on ranks: transformers', and the plain reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.trainer.judges import (
    LENGTH,
    VOCAB,
    against_reference,
    against_transformers,
    recipe_of,
)
from tests.trainer.convert.cases import weights_of
from tests.trainer.convert.rank_cases import refusals, through_ranks
from tests.trainer.ranks import run_ranks
from trainer.convert import export_weights
from trainer.megatron.start import Layout
from trainer.models.recipe import ModelRecipe

DEEP = recipe_of(layers=8, mixers=("lightning",) * 7 + ("softmax",), hidden=32)
WIDE = recipe_of(layers=4, heads=8, kv_heads=1, head_dim=16, hidden=96, experts=(8, 3, 48))


def test_equals_transformers(tmp_path: Path) -> None:
    """Logits to 1e-5 of the largest, gradients to 1e-4 of each tensor's largest, in float32."""
    recipes = [recipe_of(), DEEP, WIDE, recipe_of(alpha=1.25, rope_base=5e5)]
    (found,) = run_ranks(against_transformers, 1, recipes, tmp_path)
    for recipe, one in zip(recipes, found, strict=True):
        assert one.pop("changed") == 0
        assert one.pop("logits") < 1e-5
        assert len(one) > 10 * recipe.layers
        assert max(one.values()) < 1e-4, one


def test_equals_the_reference() -> None:
    """What transformers cannot say: rotary on half the head, pre-norm, heads of any number."""
    half: dict[str, Any] = {"rotary_dim": 4}
    recipes = [
        recipe_of(**half),
        DEEP.model_copy(update=half),
        recipe_of(residual="pre", **half),
        recipe_of(heads=6, kv_heads=3, **half),
    ]
    (found,) = run_ranks(against_reference, 1, recipes)
    for one in found:
        assert one.pop("logits") < 1e-5
        assert max(one.values()) < 1e-4, one


@pytest.mark.parametrize(
    ("layout", "world"), [(Layout(tp=2, ep=2), 2), (Layout(tp=2, pp=2), 4)], ids=str
)
def test_ranks_import_and_export(tmp_path: Path, layout: Layout, world: int) -> None:
    """Every layout computes the reference's logits, and writes the same bytes again.

    When rank 0 cannot write, every rank hears of it and nothing is left.
    """
    recipe = recipe_of(layers=4, rotary_dim=4)
    write(recipe, tmp_path / "a")
    answers = run_ranks(through_ranks, world, recipe, layout, tmp_path)
    assert max(apart for apart, _ in answers) < 1e-5
    same_files(tmp_path / "a", tmp_path / "b")
    said = [error for _, error in answers]
    stopped = ["found that rank 0 stopped writing, see its error"] * (world - 1)
    assert said == ["No space left on device", *stopped]
    assert {one.name for one in tmp_path.iterdir()} == {"a", "b"}


def test_refuses_weights_of_another_model(tmp_path: Path) -> None:
    recipe, folder = recipe_of(layers=1), tmp_path / "a"
    write(recipe, folder)
    (said,) = run_ranks(refusals, 1, recipe, folder)
    alpha = 2**0.25
    assert [one.partition(" as ")[0] for one in said] == [
        f"{folder}: found a vocabulary of {VOCAB}, expected {VOCAB + 1}",
        f"{folder}: found residual_weight {alpha}, expected 1.25,",
        f"the model: found residual_weight 1.25, expected {alpha},",
        "found Linear, expected a LanguageModel, wrapped or not",
        f"{tmp_path / 'out'}: found vocab_size {VOCAB - 1}, expected {VOCAB}",
    ]


def write(recipe: ModelRecipe, folder: Path) -> None:
    """Random weights in the released layout, small enough not to saturate."""
    weights = weights_of(recipe)
    export_weights(
        ((name, one / max(one.shape[-1], 1) ** 0.5) for name, one in weights.items()),
        recipe,
        folder,
        layout="released",
        vocab_size=VOCAB,
        rope_base=recipe.rope_base,
        positions=LENGTH,
        max_shard_bytes=20_000,
    )


def same_files(a: Path, b: Path) -> None:
    """Two folders hold the same names and bytes."""
    names = sorted(file.name for file in a.iterdir())
    assert len(names) > 3
    assert names == sorted(file.name for file in b.iterdir())
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
