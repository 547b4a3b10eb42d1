"""Runs with images on several ranks: the curve of one rank, whatever the layout."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflow.run import Run
from dataflow.store import Store
from tests.trainer.ranks import run_ranks
from tests.trainer.run.small_runs import MODEL, metrics
from trainer.megatron.start import Layout
from trainer.models.recipe import ModelRecipe
from trainer.run import walk
from trainer.run.batch import BatchResult, run_batch
from trainer.run.request import Request
from trainer.run.train import train
from trainer.stages.recipe import StageRecipe

LENGTH, STEPS, SEQUENCES = 256, 4, 4
SECONDS = 100
VISION = {
    "layers": 2, "hidden": 24, "heads": 4, "ffn": 40, "patch": 14, "tile": 56, "tiling": "tiny56",
}  # fmt: skip

Shown = tuple[list[bool], int, int]
"""Of a step: which micro-batches of this rank have images; tiles and features of all ranks'."""


def shown_on_ranks(asked: Request, layout: Layout) -> list[Shown]:
    """Trains, on each rank; what each of its steps was shown."""
    found: list[Shown] = []

    def noted(chunks: Any, batches: Sequence[Any], **named: Any) -> BatchResult:
        result = run_batch(chunks, batches, **named)
        opened = [batch.images is not None for batch in batches]
        found.append((opened, result.tiles, result.features))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "run_batch", noted)
        train(replace(asked, layout=layout))
    return found


@pytest.fixture(scope="module")
def straight(
    shown_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Request, list[Shown]]:
    """All parts trained on questions about images and on text, on one rank; a save in between."""
    whole = STEPS * SEQUENCES * LENGTH
    mixed = StageRecipe.model_validate(
        {
            "name": "mixed", "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"tokens": SEQUENCES * LENGTH}],
            "schedule": {"phases": [{"until": whole, "rate": 1e-2}]},
            "draws": {name: {"sources": [name]} for name in ("instructions", "text")},
            "train": ["vision", "projector", "language"], "packing": "whole", "tiling": "tiny56",
        }
    )  # fmt: skip
    model = ModelRecipe.model_validate({**MODEL.model_dump(), "name": "two-vl", "vision": VISION})
    asked = Request(
        model=model, stage=mixed, corpus=str(shown_run),
        out=tmp_path_factory.mktemp("straight") / "mixed",
        micro_batch=LENGTH, save_every=2, deterministic=True, json=True,
    )  # fmt: skip
    shown = shown_on_ranks(asked, Layout())
    opened = [one for step in shown for one in step[0]]
    assert True in opened
    assert False in opened  # micro-batches of text, too
    return asked, shown


LAYOUTS = [
    pytest.param(Layout(), 2, id="dp2"),
    pytest.param(Layout(pp=2), 2, id="pp2"),
    pytest.param(Layout(tp=2), 2, id="tp2", marks=pytest.mark.long),
    pytest.param(Layout(ep=2), 2, id="ep2", marks=pytest.mark.long),
    pytest.param(Layout(tp=2, pp=2), 4, id="tp2-pp2", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("layout", "world"), LAYOUTS)
def test_the_same_curve(
    straight: tuple[Request, list[Shown]], tmp_path: Path, layout: Layout, world: int
) -> None:
    """Two steps on these ranks, the rest on one: the losses of one rank."""
    given, shown = straight
    asked = replace(given, out=tmp_path / "mixed")
    ranks = run_ranks(shown_on_ranks, world, replace(asked, steps=2), layout, seconds=SECONDS)
    for found in ranks:  # what is counted is known to all
        assert [step[1:] for step in found] == [step[1:] for step in shown[:2]]
    opened = [[one for step in found for one in step[0]] for found in ranks]
    if layout.pp == 2:
        # Ranks are tensor-parallel neighbours first: the later half has the second stage.
        assert not any(one for found in opened[world // 2 :] for one in found)
        assert all(found == opened[0] for found in opened[: world // 2])
    train(replace(asked, resume=True))
    expected, curve = ([line["loss"] for line in metrics(one.out)] for one in (given, asked))
    assert len(curve) == STEPS
    assert curve[0] == pytest.approx(expected[0], rel=1e-6)
    assert curve == pytest.approx(expected, rel=1e-4)


@pytest.mark.long
def test_a_later_stage_leaves_out_what_the_first_cannot_read(
    straight: tuple[Request, list[Shown]], tmp_path: Path
) -> None:
    """Only the first pipeline stage opens images: the other learns from it that one is damaged."""
    given, _ = straight
    folder = tmp_path / "damaged"
    shutil.copytree(given.corpus, folder)
    run = Run.load(Store(str(folder)))
    for shard in run.shards:
        for row in run.table(shard.tokenize, "index", ["images"])["images"].to_pylist():
            for image in row[:1]:
                with (folder / shard.pack.outputs["shard"].path).open("r+b") as file:
                    file.seek(image["offset"])
                    file.write(b"\xff" * image["bytes"])
    asked = replace(
        given,
        corpus=str(folder),
        out=tmp_path / "mixed",
        on_bad_shard="skip",
        verify="size",
        steps=1,
    )
    (first, second) = run_ranks(shown_on_ranks, 2, asked, Layout(pp=2), seconds=SECONDS)
    assert first[0][1:] == second[0][1:] == (0, 0)
