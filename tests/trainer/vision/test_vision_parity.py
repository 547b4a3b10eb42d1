"""The same step with images on any layout of ranks, and with frozen parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import torch

from tests.trainer.ranks import run_ranks
from tests.trainer.vision.cases import VOCAB, recipe
from tests.trainer.vision.step import EXPERTS, Whole, run, trained, whole
from trainer.megatron.start import Layout
from trainer.vision.parts import PARTS, part_of, train_only

PADDED = ("embedding.word_embeddings.weight", "output_layer.weight")


@cache
def step(
    layout: Layout,
    world: int,
    recompute: bool = False,
    overlap: bool = False,
    train: tuple[str, ...] = PARTS,
) -> Whole:
    """A step; processes take seconds to start."""
    return whole(run_ranks(run, world, recipe(), layout, recompute, overlap, train))


@pytest.mark.parametrize(
    ("layout", "world"),
    [
        pytest.param(Layout(tp=2), 2, id="tp2"),
        pytest.param(Layout(pp=2), 2, id="pp2"),
        pytest.param(Layout(tp=2, pp=2, ep=2), 4, id="tp2-pp2-ep2"),
    ],
)
def test_layouts_agree_with_one_process(layout: Layout, world: int) -> None:
    compare(step(layout, world), step(Layout(), 1))


@pytest.mark.parametrize("overlap", [False, True], ids=["after", "overlapped"])
def test_data_parallel_ranks_agree_with_one_process(overlap: bool) -> None:
    """One rank has a micro-batch without an image, and reduces what the other one does."""
    found, expected = step(Layout(), 2, overlap=overlap), step(Layout(), 1)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.norm == pytest.approx(expected.norm * 2, rel=1e-5)
    assert found.norms == pytest.approx(expected.norms, rel=1e-4, abs=1e-6)


def test_recomputation_changes_nothing() -> None:
    compare(step(Layout(), 1, recompute=True), step(Layout(), 1))


@pytest.mark.parametrize("train", [("projector",), ("vision", "projector"), ("language",)], ids=str)
def test_gradients_go_through_what_is_frozen(train: tuple[str, ...]) -> None:
    """Of what is trained they are the same, on one rank and on two."""
    expected = step(Layout(), 1)
    mine = {name: one for name, one in expected.gradients.items() if part_of(name) in train}
    norms = {name: one for name, one in expected.norms.items() if part_of(name) in train}
    some = Whole(expected.loss, mine, norms, [])
    compare(step(Layout(), 1, train=train), some)
    compare(step(Layout(tp=2), 2, train=train), some)


@pytest.mark.parametrize(
    ("layout", "world"), [(Layout(), 1), (Layout(pp=2), 2)], ids=["alone", "pp2"]
)
def test_only_what_is_trained_changes_and_has_states(layout: Layout, world: int) -> None:
    """The first stage of MiniMax-VL-01: of two pipeline stages the second trains nothing."""
    train: Sequence[str] = ("vision", "projector")
    changed: dict[str, bool] = {}
    for part in run_ranks(trained, world, recipe(), layout, train):
        changed |= part
    for name, found in changed.items():
        # The key's bias cancels in the softmax, the other two thirds of this one do not.
        assert found == (part_of(name) in train), name


def norm_of(gradients: dict[str, torch.Tensor]) -> float:
    return float(torch.cat([one.flatten().double() for one in gradients.values()]).norm())


def compare(found: Whole, expected: Whole) -> None:
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    shared = {name for name in expected.gradients if EXPERTS in name} - found.gradients.keys()
    assert found.gradients.keys() | shared == expected.gradients.keys()
    for name, padded in expected.gradients.items():
        if name in shared:
            continue  # ranks have a share each; the norm of the whole is compared below
        rows = VOCAB if name in PADDED else len(padded)
        gradient, other = padded[:rows], found.gradients[name][:rows]
        assert gradient.shape == other.shape, name
        largest = gradient.abs().max()
        assert largest > 0, name
        error = (other - gradient).abs().max() / largest
        assert error < 1e-5, f"{name}: {error:.1e}"
    norm = norm_of(expected.gradients)
    assert found.norm == pytest.approx([norm] * len(found.norm), rel=1e-5)
    assert found.norms == pytest.approx(expected.norms, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((), "train: found no part, expected some of vision, projector, language"),
        (("vision", "head"), "train: found head, expected some of vision"),
    ],
)
def test_unknown_parts_are_refused(train: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        train_only(torch.nn.Linear(1, 1), train)
