"""Continuations scored after a prefix that is read once; means and their errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.trainer.evaluation.models import VOCABULARY, log_probabilities
from trainer.evaluation.likelihood import batches, follow
from trainer.evaluation.statistics import mean, ratio
from trainer.generation.decoder import Decoder
from trainer.generation.sampling import Sampling, continue_prompts


def ids(*lengths: int, seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCABULARY, (n,), generator=draw) for n in lengths]


@pytest.mark.parametrize("most", [1 << 14, 50, 1])
def test_continuations_score_as_whole_texts_do(decoder: Decoder, most: int) -> None:
    prefixes = ids(7, 40, 1)
    continuations = [ids(3, 1, 6, seed=1), ids(2, seed=2), ids(5, 4, seed=3)]
    told: list[tuple[int, int]] = []
    found = follow(decoder, prefixes, continuations, most=most, progress=lambda *n: told.append(n))
    for prefix, mine, scores in zip(prefixes, continuations, found, strict=True):
        for continuation, score in zip(mine, scores, strict=True):
            wanted = log_probabilities(decoder, torch.cat([prefix, continuation]))
            wanted = wanted[len(prefix) - 1 :]
            assert score.log_probabilities == pytest.approx(wanted.tolist(), abs=1e-4)
            assert score.total == pytest.approx(float(wanted.sum()), abs=1e-3)
    assert told[-1] == (3, 3)


def test_greedy_is_what_greedy_generation_writes(decoder: Decoder) -> None:
    (prompt,) = ids(12)
    steps = continue_prompts(
        decoder, [prompt], most=5, stop=frozenset(), sampling=Sampling(temperature=0)
    )
    written = torch.tensor([token for step in steps for _, token in step])
    wrong = written.clone()
    wrong[3] = (wrong[3] + 1) % VOCABULARY
    ((right, cut, changed),) = follow(decoder, [prompt], [[written, written[:2], wrong]])
    assert (right.greedy, cut.greedy, changed.greedy) == (True, True, False)
    assert right.log_probabilities[3] > changed.log_probabilities[3]


def test_a_continuation_without_tokens_is_refused(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="continuation without tokens"):
        follow(decoder, ids(3), [[torch.zeros(0, dtype=torch.int64)]])


def test_batches_hold_every_text_once_and_no_more_than_fits() -> None:
    sizes = [5, 90, 1, 33, 33, 8, 2]
    found = list(batches(sizes, 66))
    assert sorted(i for batch in found for i in batch) == list(range(7))
    assert all(len(b) == 1 or max(sizes[i] for i in b) * len(b) <= 66 for b in found)
    assert found[0] == [1]
    assert found[1] == [3, 4]


def test_the_error_of_a_ratio_is_that_of_many_draws() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(10, 200, 400).astype(float)
    nats = tokens * generator.normal(3, 0.5, 400)
    found = ratio(nats, tokens)
    rows = generator.integers(0, 400, (2000, 400))
    bootstrap = nats[rows].sum(1) / tokens[rows].sum(1)
    assert found.value == pytest.approx(nats.sum() / tokens.sum())
    assert found.error == pytest.approx(bootstrap.std(), rel=0.1)
    plain = mean([1, 0, 0, 1, 1])
    assert plain.value == pytest.approx(0.6)
    assert plain.error == pytest.approx(np.std([1, 0, 0, 1, 1], ddof=1) / math.sqrt(5))
    assert mean([2.0]).error is None
    with pytest.raises(ValueError, match="expected above 0"):
        mean([])
