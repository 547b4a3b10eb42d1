"""Tells when something takes nearly all of a category away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Vanishing:
    """A category of which too little is left. ``before`` and ``after``: its shares of all.
    ``lost``: how much of it is gone, 0 to 1."""

    category: str
    before: float
    after: float
    lost: float

    def describe(self) -> str:
        """One line: ``law: 2.10 % of all before, 0.05 % after (97.6 % of it gone)``."""
        return (
            f"{self.category}: {100 * self.before:.2f} % of all before, {100 * self.after:.2f} % "
            f"after ({100 * self.lost:.1f} % of it gone)"
        )


def vanishing(
    before: Mapping[str, int],
    after: Mapping[str, int],
    *,
    loss: float,
    share: float,
    of_shares: bool = False,
) -> list[Vanishing]:
    """The categories that lose more than ``loss``, of those that made up ``share`` of all or more.

    Parameters
    ----------
    before, after : amounts by category
    of_shares : compare not amounts but shares of all, where the two amounts are of different things
    """
    whole, left = sum(before.values()), sum(after.values())
    least, most = Fraction(repr(float(share))), Fraction(repr(float(loss)))
    found = []
    for name, amount in sorted(before.items()):
        if not amount or Fraction(amount, whole) < least:
            continue
        old = Fraction(amount, whole)
        new = Fraction(after.get(name, 0), left) if left else Fraction(0)
        lost = 1 - (new / old if of_shares else Fraction(after.get(name, 0), amount))
        if lost > most:
            found.append(Vanishing(name, float(old), float(new), float(lost)))
    return found
