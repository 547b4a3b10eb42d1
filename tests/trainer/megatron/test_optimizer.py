"""The optimizer: AdamW as torch's, its rates and decay, and norms of gradients on any layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.trainer.megatron import stock_model
from tests.trainer.ranks import run_ranks
from trainer.megatron import checkpoints
from trainer.megatron.optimizer import (
    OptimizerSettings,
    StepFailed,
    build_optimizer,
    fuse,
    global_names,
    layer_of,
    set_rate,
    step,
    wrap,
)
from trainer.megatron.start import Layout, stop

RATE = 3e-3


def test_settings() -> None:
    settings = OptimizerSettings()
    assert (settings.beta1, settings.beta2, settings.eps) == (0.9, 0.95, 1e-8)
    assert (settings.weight_decay, settings.clip, settings.precision) == (0.1, 1.0, "bf16")
    with pytest.raises(ValidationError, match=r"found beta1 0.95 and beta2 0.9, expected beta1"):
        OptimizerSettings(beta1=0.95, beta2=0.9)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        OptimizerSettings.model_validate({"lr": 1.0})


def _against_torch() -> None:
    """Two steps against torch's AdamW on the same gradients, clipped by hand."""
    started = stock_model.begin(Layout(), precision="fp32")
    _, [chunk], optimizer = started
    names = global_names([chunk])
    expected = {name: parameter.detach().clone() for parameter, name in names.items()}
    decayed = {name: value.dim() > 1 for name, value in expected.items()}
    assert set(decayed.values()) == {True, False}
    groups = [
        {"params": [value for name, value in expected.items() if decayed[name] is is_decayed],
         "weight_decay": 0.1 if is_decayed else 0.0}
        for is_decayed in (True, False)
    ]  # fmt: skip
    reference = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)
    for number in range(2):
        stock_model.gradients(started, number)
        for parameter, name in names.items():
            expected[name].grad = parameter.main_grad.clone()  # type: ignore[attr-defined]
        norm = torch.nn.utils.clip_grad_norm_(list(expected.values()), 1.0)
        rate = RATE * (number + 1)
        reference.param_groups[0]["lr"] = reference.param_groups[1]["lr"] = rate
        reference.step()
        set_rate(optimizer, rate)
        assert step(optimizer) == pytest.approx(float(norm), rel=1e-6)
    for parameter, name in names.items():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-6, atol=1e-7, msg=name)


def test_adamw_is_torchs_with_clipping_and_no_decay_of_vectors() -> None:
    run_ranks(_against_torch, 1)


def _norms(layout: Layout) -> tuple[dict[str, float], float]:
    started = stock_model.begin(layout, precision="fp32")
    # Weights are drawn by the layout: ones that any layout draws alike.
    with torch.no_grad():
        for parameter in started.chunks[0].parameters():
            pattern = torch.arange(parameter.shape[-1]).mul(2.0).sin()
            parameter.copy_(pattern.mul(0.1).expand_as(parameter))
    stock_model.gradients(started, 0)
    found = stock_model.norms(started)
    return found, step(started.optimizer)


def test_norms_of_layers_are_those_of_one_rank_on_every_layout() -> None:
    [(expected, norm)] = run_ranks(_norms, 1, Layout())
    assert list(expected) == [
        "embedding", "final_layernorm", "layers.0", "layers.1", "output_layer",
    ]  # fmt: skip
    assert sum(value**2 for value in expected.values()) == pytest.approx(norm**2, rel=1e-6)
    for layout in (Layout(), Layout(pp=2), Layout(ep=2), Layout(tp=2, ep=2)):
        for found, found_norm in run_ranks(_norms, 2, layout):
            if layout.tp == 1:  # split columns repeat the pattern: other weights
                assert found == pytest.approx(expected, rel=1e-5)
            assert sum(v**2 for v in found.values()) == pytest.approx(found_norm**2, rel=1e-6)


def test_layer_of() -> None:
    assert layer_of("decoder.layers.17.mlp.experts.down") == "layers.17"
    assert layer_of("decoder.final_layernorm.weight") == "final_layernorm"
    assert layer_of("embedding.word_embeddings.weight") == "embedding"
    assert layer_of("output_layer.weight") == "output_layer"


def _names(layout: Layout) -> list[str]:
    started = stock_model.begin(layout)
    return sorted(global_names(started.chunks).values())


def test_names_count_layers_over_the_whole_model() -> None:
    [whole] = run_ranks(_names, 1, Layout())
    first, last = run_ranks(_names, 2, Layout(pp=2))
    assert sorted(first + last) == whole
    assert any(name.startswith("decoder.layers.1.") for name in last)


def _curve(precision: str, overlap: bool) -> list[list[float]]:
    started = stock_model.begin(Layout(), precision=precision, overlap=overlap)
    return stock_model.train(started, 0, 3)


def test_overlap_changes_nothing() -> None:
    found, expected = (run_ranks(_curve, 2, "bf16", overlap) for overlap in (True, False))
    # Buckets add the squares of a norm in another order.
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-6, atol=0)


def _fused(precision: str, fused: bool, folder: Path) -> list[list[float]]:
    """Steps with a checkpoint in between, which a fresh optimizer loads."""
    curve: list[list[float]] = []
    for first in (0, 2):
        started = stock_model.begin(Layout(), precision=precision)
        if fused:
            fuse(started.optimizer)
        groups = [g for o in started.optimizer.chained_optimizers for g in o.optimizer.param_groups]
        assert {bool(group["fused"]) for group in groups} == {fused}
        if first:
            checkpoints.load(folder, first, started.chunks, started.optimizer)
        curve += stock_model.train(started, first, 2)
        checkpoints.save(folder, first + 2, started.chunks, started.optimizer, {})
        stop()
    return curve


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_fused_step_is_the_plain_one(precision: str, tmp_path: Path) -> None:
    found, expected = (
        run_ranks(_fused, 1, precision, fused, tmp_path / str(fused))[0] for fused in (True, False)
    )
    tolerance = 1e-5 if precision == "fp32" else 2e-3  # a weight may round to its neighbour
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=tolerance, atol=0)


def _refusals() -> None:
    started = stock_model.begin(Layout())
    with pytest.raises(ValueError, match=r"rate: found -1"):
        set_rate(started.optimizer, -1.0)
    with pytest.raises(ValueError, match=r"rate: found nan"):
        set_rate(started.optimizer, float("nan"))
    with pytest.raises(ValueError, match=r"found torch\.float32, expected torch\.bfloat16"):
        build_optimizer(started.chunks, OptimizerSettings(precision="bf16"))
    before = started.chunks[0].module.output_layer.weight.detach().clone()
    stock_model.gradients(started, 0)
    step(started.optimizer)
    after = started.chunks[0].module.output_layer.weight
    assert torch.equal(after, before)  # the rate starts at 0


def _not_finite(value: float) -> None:
    """One rank's gradients are not finite, of one parameter."""
    started = stock_model.begin(Layout())
    [chunk] = started.chunks
    set_rate(started.optimizer, RATE)

    def everything() -> list[torch.Tensor]:
        found = [parameter.detach() for parameter in chunk.parameters()]
        for inner in started.optimizer.chained_optimizers:
            for state in inner.optimizer.state.values():
                found += state.values()
        return [tensor.clone() for tensor in found]

    stock_model.train(started, 0, 1)
    before = everything()
    spoiled = chunk.module.output_layer.weight
    hook = None
    if started.ranks.rank == 1:
        hook = spoiled.register_hook(lambda gradient: torch.full_like(gradient, value))
    stock_model.gradients(started, 1)
    with pytest.raises(StepFailed, match="expected a finite number; no step was taken"):
        step(started.optimizer)
    assert all(map(torch.equal, everything(), before))
    if hook is not None:
        hook.remove()
    stock_model.train(started, 1, 1)
    assert all(tensor.isfinite().all() for tensor in everything())


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_gradients_that_are_not_finite_change_nothing(value: float) -> None:
    run_ranks(_not_finite, 2, value)


def test_what_is_refused() -> None:
    run_ranks(_refusals, 1)


def test_wrap_refuses_losses_that_are_means() -> None:
    config = SimpleNamespace(calculate_per_token_loss=False)
    with pytest.raises(ValueError, match="calculate_per_token_loss: found False"):
        wrap([], config)
    config.calculate_per_token_loss = True
    with pytest.raises(ValueError, match="overlap_param_gather: found True"):
        wrap([], config, overlap_param_gather=True)


def test_wrap_refuses_experts_that_norms_would_miss() -> None:
    module: Any = torch.nn.Linear(2, 2)
    module.weight.allreduce = False
    config = SimpleNamespace(calculate_per_token_loss=True, tensor_model_parallel_size=2)
    with pytest.raises(ValueError, match="weight: found allreduce = False without"):
        wrap([module], config)
