"""A stage whose documents are packed whole: what is padding is no part of the loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.run import Run
from dataflow.store import Store
from mixtures.plan import Plan
from tests.trainer.run.small_runs import LENGTH, metrics, request, stage
from trainer.data.origins import origins
from trainer.run.train import train


def test_padding_trains_nothing(built_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(request(str(built_run), out, stage=stage(packing="whole")))
    (folder,) = (out / "plans").glob("plan-*")
    plan = Plan.open(folder)
    assert plan.spec.packing == "whole"
    assert plan.fill < 1
    lines = metrics(out)
    known = origins(Run.load(Store(str(built_run))), range(plan.documents))
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
        share = 1 - tokens / (sequences * LENGTH)
        assert line["padding"] == pytest.approx(share)
        rate = line["document_tokens_per_second"] / line["tokens_per_second"]
        assert rate == pytest.approx(1 - share)
        by_source = dict.fromkeys(line["sources"], 0)
        for piece in pieces:
            by_source[known[piece.document].source] += piece.token_length
        assert line["sources"] == pytest.approx({s: n / tokens for s, n in by_source.items()})
        first += sequences
    assert padding == round((1 - plan.fill) * len(plan) * LENGTH)
    assert any(line["padding"] > 0 for line in lines)
    assert len(lines[0]["sources"]) > 1
    assert lines[-1]["loss"] < lines[0]["loss"]
