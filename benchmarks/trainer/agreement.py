"""How far logits and gradients are from transformers' model and from the plain reference, in
float32, as ``max|a - b| / max|b|``: of the logits, and of the worst tensor's gradient.

Models are small, with random weights, and tokens of which no router decides within 1e-4 of its
largest logit. Beside transformers stands how far either is from the same model in float64: two
computations in float32 are as far apart as their errors add up to, and the deepest model's errors
grow several times with the order in which numbers are added up, for ours, for transformers'
and for the plain reference alike. With transformers the whole head is rotated, which is all that
its model does; with the reference half of it, as MiniMax-01 does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TypeVar

import torch

from benchmarks.harness import Options, Report
from benchmarks.trainer.judges import (
    against_reference,
    against_transformers,
    orders_from_float64,
    recipe_of,
)
from trainer.megatron import start
from trainer.models.recipe import ModelRecipe

T = TypeVar("T")
DEEP = ("lightning",) * 7 + ("softmax",)
UNIT = "of the largest"
EXACT = " from float64"
ORDERS = 6
"""In which the features of an expert are added up, for how far rounding alone can go."""

Found = list[dict[str, float]]
"""Of each model: ``logits``, and ``gradient NAME`` of each tensor; and how far ``ours`` and
``theirs`` are from float64."""


def run(report: Report, options: Options) -> None:
    """Compare each model with both; transformers' weights go through ours and back."""
    torch.set_num_threads(1)
    models = _models(options.quick)
    folder = options.scratch / "agreement"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = _alone(against_transformers, list(models.values()), folder)
    changed = sum(one["changed"] for one in found)
    report.add("weights changed on the way into ours and back", changed, "tensors")
    _add(report, "transformers", models, found)
    for whose in ("ours", "theirs"):
        for what in ("logits", "gradients"):
            values = [one[f"{whose}, {what}{EXACT}"] for one in found]
            for name, value in zip(models, values, strict=True):
                report.add(f"{what}{EXACT}, {whose}, {name}", value, UNIT)
            report.add(f"{what}{EXACT}, {whose}, the worst of all", max(values), UNIT)
    deepest = max(models, key=lambda name: models[name].layers)
    for whose, far in _alone(orders_from_float64, models[deepest], folder, ORDERS).items():
        told = f"gradients{EXACT}, {whose}, {deepest}, of {ORDERS} orders of summation"
        report.add(f"{told} the best", min(far), UNIT)
        report.add(f"{told} the worst", max(far), UNIT)
    half = {
        name: recipe.model_copy(update={"rotary_dim": recipe.head_dim // 2})
        for name, recipe in models.items()
    }
    half["pre-norm"] = recipe_of(residual="pre", rotary_dim=4)
    _add(report, "the reference", half, _alone(against_reference, list(half.values())))
    shutil.rmtree(folder)


def _models(quick: bool) -> dict[str, ModelRecipe]:
    small = {"3 layers": recipe_of()}
    if quick:
        return small
    return {
        **small,
        "8 layers": recipe_of(layers=8, mixers=DEEP, hidden=32),
        "8 experts, 3 of them": recipe_of(
            layers=4, heads=8, kv_heads=1, head_dim=16, hidden=96, experts=(8, 3, 48)
        ),
        "80 layers": recipe_of(layers=80, mixers=DEEP, hidden=32),
        "hidden 512": recipe_of(
            layers=8, heads=8, kv_heads=2, head_dim=64, hidden=512, mixers=DEEP,
            experts=(8, 2, 512),
        ),
    }  # fmt: skip


def _alone(compare: Callable[..., T], *arguments: object) -> T:
    """What a comparison finds, in process groups of this process only."""
    try:
        return compare(*arguments)
    finally:
        start.stop()


def _add(report: Report, judge: str, models: dict[str, ModelRecipe], found: Found) -> None:
    worst = {"logits": 0.0, "gradients": 0.0}
    for name, one in zip(models, found, strict=True):
        gradients = [value for key, value in one.items() if key.startswith("gradient ")]
        mine = {"logits": one["logits"], "gradients": max(gradients)}
        for what, value in mine.items():
            report.add(f"{what} beside {judge}, {name}", value, UNIT)
            worst[what] = max(worst[what], value)
    for what, value in worst.items():
        report.add(f"{what} beside {judge}, the worst of all", value, UNIT)
