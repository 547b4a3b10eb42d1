"""A stage whose documents are packed whole: what is padding is no part of the loss."""

from __future__ import annotations

from pathlib import Path

from mixtures.plan import Plan
from tests.trainer.run.small_runs import LENGTH, metrics, request, stage
from trainer.run.train import train


def test_padding_trains_nothing(built_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(request(str(built_run), out, stage=stage(packing="whole")))
    (folder,) = (out / "plans").glob("plan-*")
    plan = Plan.open(folder)
    assert plan.spec.packing == "whole"
    assert plan.fill < 1
    lines = metrics(out)
    first = padding = 0
    for line, sequences in zip(lines, [4] * 6 + [8] * 4, strict=True):
        pieces = [piece for i in range(first, first + sequences) for piece in plan[i]]
        ends = [
            piece.token_start + piece.token_length == int(plan.tokens(piece.document))
            for piece in pieces
        ]
        tokens = sum(piece.token_length for piece in pieces)
        padding += sequences * LENGTH - tokens
        assert line["labels"] == tokens - sum(ends)
        assert line["segments"] == len(pieces)
        first += sequences
    assert padding == round((1 - plan.fill) * len(plan) * LENGTH)
    assert lines[-1]["loss"] < lines[0]["loss"]
