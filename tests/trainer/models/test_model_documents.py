"""What a changed document can move: nothing beyond it, or slots that its sequence's experts share.

Experts without a capacity take every token, so no document sees another. With a capacity, which is
that of a packed sequence, a document can take the room of others of its sequence; never of another.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.trainer.margins import margins
from tests.trainer.models.small import LENGTH, VOCAB, build, cuts, recipe, tokens
from trainer.models.recipe import ModelRecipe
from trainer.models.segments import pack

pytestmark = pytest.mark.usefixtures("alone")

SEQUENCES, CHANGED = 3, 1
"""Packed sequences, and which of them has the document that changes."""
MIXERS = {"lightning": ["lightning"], "softmax": ["softmax"], "both": ["lightning", "softmax"]}
SEED = 8
"""Of the tokens: one whose routers decide nothing closely (``margins.MARGIN``)."""


def moved(model: ModelRecipe) -> torch.Tensor:
    """bool ``[SEQUENCES, LENGTH]``: tokens whose logits the middle document's change moves."""
    made, ends = build(model), cuts(SEQUENCES)
    first = tokens(SEQUENCES, SEED)
    other, document = first.clone(), slice(*changed())
    other[document] = (first[document] + 1) % VOCAB
    with torch.no_grad(), margins() as margin:
        before, after = (
            made(ids, packed_seq_params=pack(ends, LENGTH))[:, :VOCAB] for ids in (first, other)
        )
    margin.check()
    distance = (after - before).abs().amax(1) / before.abs().max()
    # Rounding may differ with the number of rows that an expert has; what moves, moves far more.
    assert not ((distance > 1e-6) & (distance < 1e-4)).any()
    found: torch.Tensor = distance > 1e-5
    return found.view(SEQUENCES, LENGTH)


def changed() -> tuple[int, int]:
    """Where the middle document of sequence ``CHANGED`` begins and ends."""
    start, end = cuts(SEQUENCES)[3 * CHANGED + 1 : 3 * CHANGED + 3].tolist()
    assert CHANGED * LENGTH < start < end < (CHANGED + 1) * LENGTH
    return start, end


def inside() -> torch.Tensor:
    """bool ``[SEQUENCES, LENGTH]``: tokens of that document."""
    found = torch.zeros(SEQUENCES * LENGTH, dtype=torch.bool)
    found[slice(*changed())] = True
    return found.view(SEQUENCES, LENGTH)


def sizes(mixers: str, **experts: Any) -> ModelRecipe:
    return recipe(mixers=MIXERS[mixers], experts=experts)


@pytest.mark.parametrize("mixers", MIXERS)
def test_without_a_capacity_no_other_document_moves(mixers: str) -> None:
    assert torch.equal(moved(sizes(mixers, capacity_factor=None)), inside())


@pytest.mark.parametrize("mixers", MIXERS)
def test_with_room_for_all_no_other_document_moves(mixers: str) -> None:
    """A capacity that nothing reaches is none."""
    assert torch.equal(moved(sizes(mixers, capacity_factor=2.0)), inside())


@pytest.mark.parametrize("mixers", MIXERS)
@pytest.mark.parametrize("drop", ["probability", "position"])
def test_with_a_capacity_only_its_own_sequence_moves(mixers: str, drop: str) -> None:
    found, mine = moved(sizes(mixers, capacity_factor=0.7, drop=drop)), inside()
    assert found[mine].all()
    others = found & ~mine
    assert others[CHANGED].any(), "no document took the room of another: nothing was tested"
    assert not others[torch.arange(SEQUENCES) != CHANGED].any()
    if drop == "position":  # room goes to the first tokens: those before see nothing of it
        assert not others[CHANGED, : int(mine[CHANGED].int().argmax())].any()
