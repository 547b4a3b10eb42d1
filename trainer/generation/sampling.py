"""The next token out of logits, and a batch of prompts continued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from trainer.generation.decoder import Decoder
from trainer.vision.images import Images


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    ``temperature`` 0 takes the most probable one (the lowest id among equals). ``top_p`` keeps the
    fewest most probable tokens that hold that share, at least one. Draws depend on ``seed``, the
    row and the position alone, so a row's text is the same in every batch.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature: found {self.temperature}, expected 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: found {self.top_p}, expected above 0 and up to 1")


def draw(logits: torch.Tensor, sampling: Sampling, rows: Sequence[int], position: int) -> list[int]:
    """One token for each of some rows.

    Args:
        logits: ``[B, V]``.
        rows: the number of each row in what was asked for.
        position: how many tokens were drawn before.
    """
    if sampling.temperature == 0:
        return [int(row.argmax()) for row in logits.float().cpu()]
    probabilities = torch.softmax(logits.double().cpu() / sampling.temperature, -1)
    found = []
    for row, p in zip(rows, probabilities, strict=True):
        generator = torch.Generator().manual_seed(_mixed(sampling.seed, row, position))
        if sampling.top_p == 1:
            found.append(int(torch.multinomial(p, 1, generator=generator)))
            continue
        ordered, ids = p.sort(descending=True, stable=True)
        before = ordered.cumsum(0) - ordered
        kept = ordered * (before < sampling.top_p)
        found.append(int(ids[torch.multinomial(kept, 1, generator=generator)]))
    return found


def _mixed(seed: int, row: int, position: int) -> int:
    """A seed of torch's range for each of them, however large the first one is."""
    return ((seed * 1_000_003 + row) * 1_000_003 + position) % 2**63


def continue_prompts(
    decoder: Decoder,
    prompts: Sequence[torch.Tensor],
    *,
    most: int,
    stop: frozenset[int],
    sampling: Sampling,
    first_row: int = 0,
    images: Images | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Tokens of a batch of prompts as they come, a list of ``(row, token)`` a step.

    A row that has drawn one of ``stop`` (which is given out too) draws no more; the others go on,
    at most ``most`` tokens each. Of a longer list that is continued part by part, ``first_row`` is
    the number of this part's first prompt: the draws are then those of the whole list at once.
    ``images``: what the prompts show, in their order.
    """
    memory, logits = decoder.prefill(prompts, images)
    rows = list(range(first_row, first_row + len(prompts)))
    alive = [True] * len(rows)
    for position in range(most):
        tokens = draw(logits, sampling, rows, position)
        yield [(row, token) for row, token in enumerate(tokens) if alive[row]]
        alive = [a and token not in stop for a, token in zip(alive, tokens, strict=True)]
        if not any(alive):
            return
        if position + 1 < most:
            logits = decoder.step(memory, torch.tensor(tokens, device=decoder.device))
