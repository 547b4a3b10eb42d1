"""Batches of a plan that packs documents whole: what they leave of a sequence predicts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixtures.plan import Component, Plan, PlanSpec
from tests.mixtures.made_runs import EOD, Made, made_ids, make_run
from trainer.data.batches import IGNORED, NO_DOCUMENT, Batches
from trainer.data.corpus import Corpus

LENGTH = 48
DOCUMENTS = [Made("web", 30 + i * 7 % 18 + (i % 4 == 0) * 48) for i in range(90)]


def open_batches(
    tmp_path: Path, documents: list[Made], **options: Any
) -> tuple[Batches, list[int]]:
    order = make_run(tmp_path / "run", documents, shard_documents=20)
    spec = PlanSpec(
        length=LENGTH,
        tokens=LENGTH * 64,
        packing="whole",
        components=(Component(name="all", weight=1),),
    )
    plan = Plan.compile(tmp_path / "run", spec, out=tmp_path / "plans")
    return Batches(plan, Corpus.open(tmp_path / "run"), **options), order


def test_padding_is_a_segment_without_document_and_labels(tmp_path: Path) -> None:
    batches, order = open_batches(tmp_path, DOCUMENTS, micro_batch_sequences=2)
    padded = cut = 0
    with batches, batches.corpus:
        for micro in batches.step(0, 64):
            bounds = micro.cu_seqlens.tolist()
            assert micro.tokens.shape == micro.labels.shape == (2 * LENGTH,)
            assert {0, LENGTH, 2 * LENGTH} <= set(bounds)
            assert min(np.diff(bounds)) > 0
            assert micro.max_seqlen == max(np.diff(bounds))
            pieces = [
                piece for i in range(micro.first_sequence, micro.first_sequence + 2)
                for piece in batches.plan[i]
            ]  # fmt: skip
            real = [n for n, document in enumerate(micro.documents.tolist()) if document >= 0]
            assert micro.documents[real].tolist() == [piece.document for piece in pieces]
            assert micro.token_starts[real].tolist() == [piece.token_start for piece in pieces]
            for n, piece in zip(real, pieces, strict=True):
                place = order[piece.document]
                ids = made_ids(place, DOCUMENTS[place].tokens)
                mine = slice(piece.token_start, piece.token_start + piece.token_length)
                here = slice(bounds[n], bounds[n + 1])
                assert micro.tokens[here].tolist() == ids[mine].tolist()
                assert micro.labels[here].tolist() == [*ids[1:].tolist(), IGNORED][mine]
                cut += mine.stop < len(ids)
            for n in set(range(len(micro.documents))) - set(real):
                padded += 1
                assert int(micro.documents[n]) == NO_DOCUMENT
                assert int(micro.token_starts[n]) == 0
                assert bounds[n + 1] % LENGTH == 0
                assert set(micro.tokens[bounds[n] : bounds[n + 1]].tolist()) == {EOD}
                assert set(micro.labels[bounds[n] : bounds[n + 1]].tolist()) == {IGNORED}
            assert micro.skipped == ()
            filling = np.repeat(micro.documents.numpy() == NO_DOCUMENT, np.diff(bounds))
            found = np.zeros(len(filling), bool) if micro.padding is None else micro.padding
            assert np.array_equal(found, filling)
            assert (micro.padding is None) == (not filling.any())
    assert padded > 10
    assert cut > 5


def test_ranks_read_the_same_padding(tmp_path: Path) -> None:
    alone, _ = open_batches(tmp_path, DOCUMENTS)
    with alone, alone.corpus:
        whole = alone.step(0, 16)
    together = []
    for rank in range(2):
        batches, _ = open_batches(tmp_path / "again", DOCUMENTS, dp_rank=rank, dp_size=2)
        with batches, batches.corpus:
            together += batches.step(0, 16)
    for a, b in zip(whole, together, strict=True):
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.cu_seqlens, b.cu_seqlens)
        assert torch.equal(a.labels, b.labels)
