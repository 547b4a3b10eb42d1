"""Drawing tokens."""

from __future__ import annotations

import pytest
import torch

from trainer.generation.sampling import Sampling, draw


def test_temperature_zero_takes_the_most_probable() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [5.0, 1.0, 2.0]])
    assert draw(logits, Sampling(temperature=0.0), [0, 1], 0) == [1, 0]


def test_frequencies_follow_the_probabilities() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = [draw(p.log()[None], Sampling(seed=3), [0], n)[0] for n in range(4000)]
    counts = torch.bincount(torch.tensor(drawn), minlength=4) / len(drawn)
    # Four standard deviations of a share drawn 4,000 times.
    assert (counts - p).abs().max() < 4 * 0.5 / 4000**0.5


@pytest.mark.parametrize(("top_p", "allowed"), [(0.5, {0}), (0.51, {0, 1}), (0.8, {0, 1})])
def test_top_p_keeps_the_fewest_that_hold_the_share(top_p: float, allowed: set[int]) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = {draw(logits, Sampling(top_p=top_p), [0], n)[0] for n in range(200)}
    assert drawn == allowed


def test_a_row_draws_the_same_in_every_batch() -> None:
    logits = torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    sampling = Sampling(temperature=1.3, top_p=0.9, seed=7)
    together = draw(logits, sampling, range(5), 11)
    assert together == [draw(logits[r : r + 1], sampling, [r], 11)[0] for r in range(5)]


def test_any_seed_will_do() -> None:
    logits = torch.zeros(1, 50)
    seeds = (0, 1, 20_000_000, 2**62, 10**30, -5)
    drawn = [draw(logits, Sampling(seed=seed), [3], 2)[0] for seed in seeds]
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_settings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="found"):
        Sampling(**wrong)  # type: ignore[arg-type]
