"""Deterministic mode: the same bits in every run, of losses, norms, weights and moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.ranks import run_ranks
from tests.trainer.run.saved_bits import saved_bits
from tests.trainer.run.small_runs import metrics, request, train_on_ranks
from trainer.megatron.start import Layout
from trainer.run.recorder import Recorder
from trainer.run.request import Request
from trainer.run.train import train


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """A run sets these for its whole process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def asked(built_run: Path, tmp_path: Path) -> Request:
    return request(str(built_run), tmp_path / "one" / "first", deterministic=True)


def same_bits(one: Request, other: Request, steps: int) -> None:
    def told(run: Request) -> list[dict[str, Any]]:
        names = ("step", "loss", "grad_norm", "grad_norms", "dropped_tokens", "lr", "mixture")
        return [{name: line[name] for name in names} for line in metrics(run.out)]

    assert len(told(one)) == steps
    assert told(one) == told(other)
    bits, others = (saved_bits(run.checkpoints, steps) for run in (one, other))
    assert len(bits) > 30
    assert bits.keys() == others.keys()
    assert [name for name in bits if bits[name] != others[name]] == []


def test_two_runs_have_the_same_bits(asked: Request) -> None:
    """One in this process, behind whatever it did before, and one in a process of its own."""
    torch.set_num_threads(1)
    torch.rand(1000)
    train(asked)
    other = replace(asked, out=asked.out.parents[1] / "other" / "first")
    run_ranks(train_on_ranks, 1, other, Layout())
    same_bits(asked, other, 10)
    # It is no accident: another seed has other bits.
    third = replace(asked, out=asked.out.parents[1] / "third" / "first", seed=1, steps=1)
    train(third)
    assert metrics(third.out)[0]["loss"] != metrics(asked.out)[0]["loss"]


@pytest.mark.long
@pytest.mark.parametrize(
    "layout", [Layout(), Layout(tp=2), Layout(pp=2), Layout(ep=2)], ids=["dp", "tp", "pp", "ep"]
)
def test_two_runs_on_two_ranks_have_the_same_bits(asked: Request, layout: Layout) -> None:
    other = replace(asked, out=asked.out.parents[1] / "other" / "first")
    for run in (asked, other):
        run_ranks(train_on_ranks, 2, run, layout, seconds=300)
    same_bits(asked, other, 10)


@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_is_told_at_every_step(
    asked: Request, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an operator without a fixed order raises, where the mode is asked for."""
    written, found = Recorder.step, []

    def step(recorder: Recorder, now: Any, *rest: Any, **named: Any) -> None:
        found.append(torch.are_deterministic_algorithms_enabled())
        written(recorder, now, *rest, **named)

    monkeypatch.setattr(Recorder, "step", step)
    torch.use_deterministic_algorithms(not deterministic)
    train(replace(asked, deterministic=deterministic, steps=2))
    assert found == [deterministic] * 2
