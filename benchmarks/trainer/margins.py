"""How close a router's decisions are: where one is too close, rounding may decide it otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor

from trainer.models import router
from trainer.models.config import ModelConfig
from trainer.models.router import Choices

MARGIN = 1e-4
"""The least margin of what is compared: float32 rounds a hundred times finer, even over layers."""


class NearTie(AssertionError):
    """A router's choice that another order of the same sums could turn."""


@dataclass
class Margin:
    """The closest decisions of all routers, tokens and sequences that were seen.

    Attributes:
        choices: between the logits of a choice and of the next one, up to the first that is not
            taken (of a top-2 router: first and second, second and third), as a part of the largest
            logit.
        edges: between the weights of the last slot that an expert takes of a sequence and of the
            first that it drops; weights lie between 0 and 1.
    """

    choices: float = float("inf")
    edges: float = float("inf")

    def see(self, logits: Tensor, chosen: Choices, config: ModelConfig) -> None:
        """Count what was chosen by logits ``[N, E]`` of whole sequences."""
        sizes = config.recipe.experts
        top = logits.detach().topk(min(sizes.top_k + 1, sizes.count), -1).values
        gap = (top[:, :-1] - top[:, 1:]).min() / logits.detach().abs().max()
        self.choices = min(self.choices, float(gap))
        if sizes.drop != "probability":
            return  # the order of tokens decides
        shape = (-1, config.sequence_tokens * sizes.top_k)
        parts = (chosen.experts, chosen.weights.detach(), chosen.dropped)
        for experts, weights, dropped in zip(*(x.reshape(shape) for x in parts), strict=True):
            for expert in experts[dropped].unique():
                taken = weights[(experts == expert) & ~dropped].min()
                self.edges = min(
                    self.edges, float(taken - weights[dropped & (experts == expert)].max())
                )

    def check(self) -> None:
        """Raise NearTie for a decision that is closer than ``MARGIN``."""
        for what in ("choices", "edges"):
            found = getattr(self, what)
            if found < MARGIN:
                raise NearTie(
                    f"{what} of a router: found a margin of {found:.1e} on this machine, expected "
                    f"{MARGIN:g}; rounding may turn it on another layout or machine and no "
                    "difference would say anything: choose another seed for the tokens"
                )


@contextmanager
def margins() -> Iterator[Margin]:
    """What the routers of models in this process decide meanwhile."""
    found, choose = Margin(), router.choose

    def seen(logits: Tensor, config: ModelConfig, padding: Tensor | None = None) -> Choices:
        chosen = choose(logits, config, padding)
        with torch.no_grad():
            found.see(logits, chosen, config)
        return chosen

    with mock.patch.object(router, "choose", seen):
        yield found
