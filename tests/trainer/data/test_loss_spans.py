"""Loss spans of token shards in the labels of batches, whole documents and cut ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mixtures.plan import Component, Plan, PlanSpec
from tests.mixtures.made_runs import Made, made_ids, make_run
from trainer.data.batches import IGNORED, Batches
from trainer.data.corpus import Corpus, Verify

LENGTH = 48
DOCUMENTS = [Made("web", 3 + i * 31 % 150) for i in range(60)]


def spans_of(place: int) -> list[tuple[int, int]]:
    """Of every third document: its second token, its middle half, and its last token."""
    tokens = DOCUMENTS[place].tokens
    if place % 3 or tokens < 8:
        return []
    return [(1, 2), (tokens // 4, 3 * tokens // 4), (tokens - 1, tokens)]


@pytest.mark.parametrize("verify", ["hash", "size"])
def test_tokens_without_loss_are_no_labels(tmp_path: Path, verify: Verify) -> None:
    spans = {place: spans_of(place) for place in range(len(DOCUMENTS))}
    order = make_run(tmp_path / "run", DOCUMENTS, shard_documents=20, spans=spans)
    plain = make_run(tmp_path / "plain", DOCUMENTS, shard_documents=20)
    assert order == plain
    components = (Component(name="all", weight=1, epochs=2),)
    spec = PlanSpec(length=LENGTH, tokens=LENGTH * 96, seed=3, components=components)
    plan = Plan.compile(tmp_path / "run", spec, out=tmp_path / "plans")
    assert plan.hash == Plan.compile(tmp_path / "plain", spec, out=tmp_path / "others").hash
    seen = {"whole": 0, "cut": 0, "silent": 0}
    with (
        Corpus.open(tmp_path / "run", verify=verify) as corpus,
        Batches(plan, corpus, micro_batch_sequences=4) as batches,
        Corpus.open(tmp_path / "plain") as other,
        Batches(plan, other, micro_batch_sequences=4) as unmasked,
    ):
        for first in range(0, 96, 16):
            steps = zip(batches.step(first, 16), unmasked.step(first, 16), strict=True)
            for micro, everything in steps:
                assert torch.equal(micro.tokens, everything.tokens)
                assert torch.equal(micro.cu_seqlens, everything.cu_seqlens)
                bounds = micro.cu_seqlens.tolist()
                for document, begin, start, stop in zip(
                    micro.documents.tolist(), micro.token_starts.tolist(), bounds, bounds[1:],
                    strict=False,
                ):  # fmt: skip
                    place = order[document]
                    ids = made_ids(place, DOCUMENTS[place].tokens).tolist()
                    loss = np.ones(len(ids), bool)
                    if spans[place]:
                        loss[:] = False
                        for low, high in spans[place]:
                            loss[low:high] = True
                        seen["whole" if stop - start == len(ids) else "cut"] += 1
                    wanted = [
                        ids[t + 1] if t + 1 < len(ids) and loss[t + 1] else IGNORED
                        for t in range(begin, begin + stop - start)
                    ]
                    assert micro.labels[start:stop].tolist() == wanted
                    if not spans[place]:
                        seen["silent"] += 1
                        assert torch.equal(micro.labels[start:stop], everything.labels[start:stop])
    assert min(seen.values()) > 1
