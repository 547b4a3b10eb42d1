"""Runs in bfloat16, with the head in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.ranks import run_ranks
from tests.trainer.run.small_runs import MODEL, curve, request, train_on_ranks
from trainer.megatron import optimizer
from trainer.megatron.start import Layout
from trainer.run import walk
from trainer.run.request import Request
from trainer.run.train import train


@pytest.fixture(scope="module")
def straight(built_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A run of the whole stage on one rank, and its head at the end of each step."""
    out = tmp_path_factory.mktemp("bf16") / "first"
    asked = request(str(built_run), out, precision="bf16",
                    model=MODEL.model_copy(update={"fp32_head": True}))  # fmt: skip
    assert train(asked).state == "finished"
    return asked


def test_only_the_head_is_in_float32_and_it_learns(
    straight: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[torch.Tensor] = []
    others: set[torch.dtype] = set()

    def noting(step: Callable[[Any], float]) -> Callable[[Any], float]:
        def noted(adam: Any) -> float:
            norm = step(adam)
            for name, parameter in adam.model_chunks[0].named_parameters():
                if name.endswith("output_layer.weight"):
                    heads.append(parameter.detach().clone())
                else:
                    others.add(parameter.dtype)
            return norm

        return noted

    monkeypatch.setattr(walk, "step", noting(optimizer.step))
    train(replace(straight, out=tmp_path / "first", steps=2))
    assert others == {torch.bfloat16}
    assert heads[0].dtype == torch.float32
    assert not torch.equal(heads[0], heads[1])
    # bfloat16 would have rounded it: the weight that makes logits is the optimizer's own.
    assert not torch.equal(heads[1], heads[1].bfloat16().float())


def test_a_run_that_stops_goes_on_bit_for_bit(straight: Request, tmp_path: Path) -> None:
    asked = replace(straight, out=tmp_path / "first")
    train(replace(asked, steps=5))
    assert train(replace(asked, resume=True)).state == "finished"
    assert curve(asked.out) == curve(straight.out)


@pytest.mark.parametrize(
    "layout", [Layout(tp=2), Layout(pp=2), Layout()], ids=["tp2", "pp2", "dp2"]
)
def test_a_run_goes_on_along_the_same_curve_on_other_ranks(
    straight: Request, tmp_path: Path, layout: Layout
) -> None:
    asked = replace(straight, out=tmp_path / "first")
    train(replace(asked, steps=5))
    [outcome, _] = run_ranks(train_on_ranks, 2, replace(asked, resume=True), layout, seconds=150)
    assert outcome.state == "finished"
    found, wanted = curve(asked.out), curve(straight.out)
    assert [x[0] for x in found] == [x[0] for x in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one[1] == pytest.approx(other[1], rel=2e-3)  # bfloat16 has 8 bits
        assert one[2] == pytest.approx(other[2], rel=2e-2)
