"""The loss of pairs: its formula, and its gradients through a model against unpacked halves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.vision.cases import (
    IMAGE,
    LENGTH,
    ONE_TILE,
    VOCAB,
    apart,
    build,
    pixels_of,
    recipe,
)
from tests.trainer.vision.test_vision_language import gradients_apart, released_weights
from trainer.data.batches import IGNORED, NO_DOCUMENT, MicroBatch
from trainer.data.errors import DataError
from trainer.megatron import start
from trainer.megatron.start import Layout
from trainer.models.language_model import LanguageModel
from trainer.models.segments import pack
from trainer.preference.loss import judge
from trainer.preference.objective import DpoObjective
from trainer.preference.pairs import PairBatch, split_pairs
from trainer.preference.recipe import Dpo
from trainer.preference.reference import Reference
from trainer.vision.images import Images
from trainer.vision.reference import VisionLanguageReference
from vl_data.tiling import Plan, plan

EOD = 0
POLICY = torch.tensor([[-3.0, -5.0], [-2.0, -1.0]], dtype=torch.float64)
REFERENCE = torch.tensor([[-4.0, -4.0], [-2.0, -2.0]], dtype=torch.float64)
COUNTS = torch.tensor([[2, 5], [4, 1]])


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    torch.set_num_threads(1)
    start.start(Layout(), 1)
    yield
    start.stop()


def test_the_loss_is_the_papers() -> None:
    judged = judge(POLICY, REFERENCE, COUNTS, Dpo(kind="dpo", beta=0.5))
    # (-3 + 4) - (-5 + 4) = 2 and (-2 + 2) - (-1 + 2) = -1, each times a half.
    assert judged.losses.tolist() == pytest.approx(
        [math.log(1 + math.exp(-1.0)), math.log(1 + math.exp(0.5))]
    )
    assert judged.chosen.tolist() == [0.5, 0.0]
    assert judged.rejected.tolist() == [-0.5, 0.5]
    assert judged.margins.tolist() == [1.0, -0.5]
    assert judged.right.tolist() == [1.0, 0.0]
    assert judged.nll.tolist() == [1.5, 0.5]


def test_lengths_and_the_chosen_answers_own_loss() -> None:
    settings = Dpo(kind="dpo", beta=0.5, normalise=True, nll=0.2)
    judged = judge(POLICY, REFERENCE, COUNTS, settings)
    margins = [0.5 * (1 / 2 - -1 / 5), 0.5 * (0.0 - 1 / 1)]
    expected = [
        math.log(1 + math.exp(-m)) + 0.2 * n for m, n in zip(margins, (1.5, 0.5), strict=True)
    ]
    assert judged.losses.tolist() == pytest.approx(expected)


class Rows:
    """Two sequences of two pairs and of one."""

    starts = np.array([0, 2, 3])


def micro_batch() -> tuple[MicroBatch, list[list[tuple[int, int, int]]]]:
    """Three pairs in two sequences, one of them shown an image twice, and padding.

    Of each pair its halves: first token, first token of the answer, end.
    """
    generator = torch.Generator().manual_seed(3)
    small = plan(90, 90, ONE_TILE)
    sizes = [
        [(small.tokens + 9, 4), (small.tokens + 7, 2)], [(12, 5), (15, 8)], [(20, 6), (30, 3)],
    ]  # fmt: skip
    tokens = torch.full((2 * LENGTH,), EOD)
    labels = torch.full((2 * LENGTH,), IGNORED)
    bounds, documents, places, at = [0], [], [], 0
    for number, pair in enumerate(sizes):
        if number == 2:
            bounds.append(LENGTH)
            documents.append(NO_DOCUMENT)
            at = LENGTH
        halves = []
        for size, answer in pair:
            said = torch.randint(3, VOCAB, (size,), generator=generator)
            if number == 0:
                said[1 : 1 + small.tokens] = IMAGE
            said[-1] = EOD
            tokens[at : at + size] = said
            first = at + size - answer
            labels[first - 1 : at + size - 1] = tokens[first : at + size]
            halves.append((at, first, at + size))
            at += size
        places.append(halves)
        bounds.append(at)
        documents.append(number)
    bounds.append(2 * LENGTH)
    documents.append(NO_DOCUMENT)
    plans: tuple[Plan, ...] = (small, small)
    seen = pixels_of((small,), 1).repeat(2, 1, 1, 1)
    batch = MicroBatch(
        tokens=tokens, labels=labels, cu_seqlens=torch.tensor(bounds, dtype=torch.int32),
        max_seqlen=LENGTH, documents=torch.tensor(documents),
        token_starts=torch.zeros(len(documents), dtype=torch.int64), first_sequence=0, sequences=2,
        skipped=(), images=Images(seen, plans),
    )  # fmt: skip
    return batch, places


def pairs() -> tuple[PairBatch, list[list[tuple[int, int, int]]]]:
    batch, places = micro_batch()
    return split_pairs(batch, Rows(), LENGTH, EOD), places  # type: ignore[arg-type]


def through(model: LanguageModel, batch: PairBatch) -> Tensor:
    """Losses of the tokens, as a stage of preferences asks for them."""
    padding = batch.padding
    packed = pack(batch.cu_seqlens, batch.max_seqlen, padding)
    found: Tensor = model(
        batch.tokens, labels=batch.labels, packed_seq_params=packed, images=batch.images
    )
    return found


def test_halves_are_segments_of_their_own() -> None:
    batch, places = pairs()
    assert batch.halves.tolist() == [[[a, b] for a, _, b in pair] for pair in places]
    assert batch.rows.tolist() == [0, 1, 2]
    assert batch.counts.tolist() == [[b - a for _, a, b in pair] for pair in places]
    assert batch.padding is not None
    assert int(batch.padding.sum()) == 2 * LENGTH - sum(b - a for p in places for a, _, b in p)


def test_what_is_no_pair_is_told() -> None:
    batch, places = micro_batch()
    batch.tokens[places[1][0][2] - 1] = 7  # the end between its halves
    with pytest.raises(DataError, match="document 1: found 1 ends of document in its 27 tokens"):
        split_pairs(batch, Rows(), LENGTH, EOD)  # type: ignore[arg-type]


def test_gradients_are_those_of_unpacked_halves_in_float64() -> None:
    """Each half read by itself by the plain reference, in float64."""
    model_recipe = recipe()
    model = build(model_recipe).train()
    batch, places = pairs()
    settings = Dpo(kind="dpo", beta=0.7, nll=0.1, normalise=True)
    table = np.array([[-9.0, -8.0], [-21.0, -30.0], [-25.0, -11.0]])
    objective = DpoObjective(settings, Reference(table, ""), torch.device("cpu"))
    objective.prepare([batch])
    lost = objective.loss(batch, batch.labels, through(model, batch))
    torch.autograd.backward([lost.total / lost.divisor])

    weights = {
        name: one.detach().double().requires_grad_()
        for name, one in released_weights(model, model_recipe).items()
    }
    reference = VisionLanguageReference(model_recipe, weights)
    assert batch.images is not None
    (first, second), seen = batch.images.plans, batch.images.pixels.double()
    sums = []
    for number, pair in enumerate(places):
        for half, (a, answer, b) in enumerate(pair):
            shown: tuple[Plan, ...] = ()
            tiles = seen[:0]
            if number == 0:
                one = (first, second)[half]
                shown, tiles = (one,), seen[: len(one.tiles)]
            ends = torch.tensor([0, b - a])
            logits = reference.packed(batch.tokens[a:b], ends, tiles, shown)
            spoken = torch.log_softmax(logits, -1)[answer - a - 1 : b - a - 1]
            sums.append(spoken.gather(1, batch.tokens[answer:b, None]).sum())
    policy = torch.stack(sums).view(-1, 2)
    judged = judge(policy, torch.from_numpy(table), batch.counts, settings)
    torch.autograd.backward([judged.losses.mean()])

    assert float(lost.logged[0] / lost.logged[1]) == pytest.approx(
        float(judged.losses.mean().detach()), rel=1e-6
    )
    expected = {name: None if w.grad is None else w.grad.float() for name, w in weights.items()}
    assert max(gradients_apart(model, model_recipe, expected).values()) < 1e-5


def test_a_pair_without_a_reference_counts_nowhere() -> None:
    batch, _ = pairs()
    found = torch.rand(2 * LENGTH, requires_grad=True)
    table = np.array([[-9.0, -8.0], [np.nan, -30.0], [-25.0, -11.0]])
    objective = DpoObjective(Dpo(kind="dpo"), Reference(table, ""), torch.device("cpu"))
    objective.prepare([batch])
    lost = objective.loss(batch, batch.labels, found)
    assert lost.logged[1] == 2
    assert int(lost.divisor) == int(batch.counts[[0, 2]].sum())
    torch.autograd.backward([lost.total])
    assert found.grad is not None
    (a, _), (_, b) = batch.halves[1].tolist()
    assert not found.grad[a:b].any()
    assert found.grad[:a].any()


@torch.no_grad()
def test_one_half_does_not_see_the_other() -> None:
    model = build(recipe()).train()
    batch, places = pairs()
    changed = batch.tokens.clone()
    for (a, _, b), _ in places:
        changed[b - 2] = (changed[b - 2] - 3 + 5) % (VOCAB - 3) + 3
        assert changed[a:b].tolist() != batch.tokens[a:b].tolist()
    before, after = through(model, batch), through(model, replace(batch, tokens=changed))
    for (a, answer, b), (other, said, end) in places:
        assert torch.equal(before[other:end], after[other:end])
        assert before[said - 1 : end - 1].all()
        assert apart(after[answer - 1 : b - 1], before[answer - 1 : b - 1]) > 1e-4
        assert before[a] == 0
