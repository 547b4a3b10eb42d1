"""Distributed checkpoints of a model with a tower: any layout reads any other's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.trainer.ranks import run_ranks
from tests.trainer.vision.cases import build, recipe
from tests.trainer.vision.step import mine, propagate
from trainer.convert.vision_names import vision_parameters
from trainer.megatron import checkpoints
from trainer.megatron.optimizer import OptimizerSettings, build_optimizer, set_rate, step, wrap
from trainer.megatron.start import Layout, start
from trainer.vision.parts import PARTS, train_only

MODEL = recipe()


def reload(layout: Layout, source: str | None, target: str) -> tuple[list[str], list[str]]:
    """Draws a model, loads it from ``source`` over another, saves it to ``target``.

    Returns the names of parameters that differ from what was drawn, and those given for saving.
    """
    place = start(layout, 1)
    from megatron.core import dist_checkpointing

    ends = {"pre_process": place.is_first_stage, "post_process": place.is_last_stage}
    expected = model = build(MODEL, layout, **ends)
    if source is not None:
        model = build(MODEL, layout, seed=5, **ends)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
            model.load_state_dict(dist_checkpointing.load(model.sharded_state_dict(), source))
    pairs = zip(model.named_parameters(), expected.parameters(), strict=True)
    wrong = [name for (name, found), wanted in pairs if not torch.equal(found, wanted)]
    state = model.sharded_state_dict()
    dist_checkpointing.save(state, target)
    return wrong, [entry.key for entry in state.values()]


def go_on(layout: Layout, folder: Path, train: Sequence[str], steps: int) -> list[float]:
    """Goes on from the last checkpoint of ``folder``, saves there; gradient norms of the steps."""
    place = start(layout, 1)
    ends = {"pre_process": place.is_first_stage, "post_process": place.is_last_stage}
    model = build(MODEL, layout, **ends)
    train_only(model, train)
    chunks = wrap([model], model.config)
    optimizer = build_optimizer(chunks, OptimizerSettings(precision="fp32"))
    set_rate(optimizer, 1e-2)
    begun = checkpoints.latest(folder)
    if begun is not None:
        checkpoints.load(folder, begun, chunks, optimizer)
    norms = []
    for _ in range(steps):
        propagate(chunks[0], mine(place))
        norms.append(step(optimizer))
    checkpoints.save(folder, (begun or 0) + steps, chunks, optimizer, {})
    return norms


@pytest.mark.parametrize(
    "train",
    [("vision", "projector"), pytest.param(PARTS, marks=pytest.mark.long)],
    ids=["frozen", "all"],
)
def test_a_run_with_frozen_parts_goes_on_anywhere(tmp_path: Path, train: Sequence[str]) -> None:
    """Of two pipeline stages the second may have nothing to train."""
    (expected,) = run_ranks(go_on, 1, Layout(), tmp_path / "whole", train, 4)
    found: list[float] = []
    for layout, world in ((Layout(), 1), (Layout(pp=2), 2), (Layout(tp=2), 2), (Layout(), 2)):
        answers = run_ranks(go_on, world, layout, tmp_path / "parts", train, 1)
        assert len({norms[0] for norms in answers}) == 1
        found += answers[0]
    assert found == pytest.approx(expected, rel=1e-4)
    assert len({round(norm, 4) for norm in expected}) == 4


def test_any_layout_reads_any_other(tmp_path: Path) -> None:
    """What is drawn under a layout, too: a part of what is drawn on one rank."""
    source: str | None = None
    names: list[set[str]] = []
    for layout, world in ((Layout(tp=2), 2), (Layout(pp=2), 2), (Layout(), 1), (Layout(tp=2), 2)):
        target = tmp_path / f"{layout}-{len(names)}"
        target.mkdir()
        answers = run_ranks(reload, world, layout, source, str(target))
        assert [wrong for wrong, _ in answers] == [[]] * world, layout
        names.append({name for _, given in answers for name in given})
        source = str(target)
    assert all(found == names[0] for found in names)
    assert names[0] >= {one.name for one in vision_parameters(MODEL)}
