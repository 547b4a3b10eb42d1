"""The four stages of MiniMax-VL-01, as a budget needs them (arXiv:2501.08313, section 6.3).

The recipes of the stages lie in a room above this one (``recipes/stages/vl_stage*.yaml``); a test
holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

TOKENS = 512 * 10**9
"""Of all stages together, as the paper's summary says. Its stages add up to 544.8 billion, and it
says nothing of the difference: a budget keeps their ratio."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Sources that a stage draws from, or all but some; ``weight`` beside its other draws."""

    name: str
    sources: tuple[str, ...] = ()
    except_sources: tuple[str, ...] = ()
    weight: int = 1

    def draws_from(self, source: str) -> bool:
        """Whether a source is one of its."""
        return source in self.sources if self.sources else source not in self.except_sources


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that is given a part of the tokens.

    ``share`` in billions, as published. A document with images that is longer than ``length``
    tokens is left out. No document is read more than ``epochs`` times, where its tier (`TIERS`)
    does not say less.
    """

    name: str
    share: Fraction
    tiling: str
    length: int
    draws: tuple[Draw, ...]
    epochs: int = 4


@dataclass(frozen=True, slots=True)
class PairStage:
    """A stage that learns from pairs of answers, so many of them about images."""

    name: str
    pairs: int
    draw: Draw


_APART = ("descriptions", "instructions", "experience", "preferences")
_LENGTH = 32 << 10

STAGES = (
    Stage("vl_stage1", Fraction(80), "fixed336", _LENGTH, (Draw("descriptions", _APART[:1]),)),
    Stage(
        "vl_stage2",
        Fraction(420),
        "released28",
        _LENGTH,
        (
            Draw("instructions", ("instructions",), weight=20),
            Draw("text", except_sources=_APART, weight=1),
        ),
    ),
    Stage(
        "vl_stage3",
        Fraction("44.8"),
        "released28",
        _LENGTH,
        (Draw("experience", ("experience",)),),
        epochs=1,
    ),
)
PAIRS = PairStage("vl_stage4", 40_000, Draw("preferences", ("preferences",)))
"""Text-only pairs come beside them, how many is not published."""

TIERS = {"high": 4, "medium": 2, "low": 1}
"""How often a document of a quality tier may be read; of any other tier, as often as its stage
allows. Text of high quality stands four epochs, of low quality less than half of that
(arXiv:2305.16264; arXiv:2501.08313, section 4.1.3)."""


def shares_of(total: int, parts: Iterable[Fraction | int]) -> list[int]:
    """``total`` in the ratio of ``parts``, in whole numbers; what is over goes to the largest
    remainders."""
    parts = [Fraction(part) for part in parts]
    exact = [part * total / sum(parts) for part in parts]
    found = [int(share) for share in exact]
    order = sorted(range(len(parts)), key=lambda i: (found[i] - exact[i], i))
    for i in order[: total - sum(found)]:
        found[i] += 1
    return found
