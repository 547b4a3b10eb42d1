"""How many tokens each component of a mixture gets: floors, budgets and limits, in whole numbers.

All is counted in a unit that the caller chooses (tokens, or whole sequences), and exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def with_floors(shares: Sequence[Fraction], floors: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Shares of which none is below its floor; the others give in proportion.

    Parameters
    ----------
    shares : not negative, with the sum 1
    floors : from 0 to 1, with a sum of at most 1

    Raises
    ------
    ValueError
        If the floors sum to more than 1.
    """
    if sum(floors) > 1:
        raise ValueError(f"found floors of {sum(floors)} in all, expected at most 1")
    raised: set[int] = set()
    while True:
        left = 1 - sum((floors[i] for i in raised), Fraction(0))
        others = sum((share for i, share in enumerate(shares) if i not in raised), Fraction(0))
        found = tuple(
            floors[i] if i in raised else (share * left / others if others else Fraction(0))
            for i, share in enumerate(shares)
        )
        below = {i for i, share in enumerate(found) if share < floors[i]}
        if not below:
            return found
        raised |= below


def apportioned(budget: int, shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Whole numbers with the sum ``budget``, each less than 1 from its share of it.

    The largest remainders are rounded up; among equal ones the first.
    """
    exact = [budget * share for share in shares]
    found = [math.floor(amount) for amount in exact]
    left = budget - sum(found)
    order = sorted(range(len(exact)), key=lambda i: (found[i] - exact[i], i))
    for i in order[:left]:
        found[i] += 1
    return tuple(found)


def spread(
    budget: int,
    shares: Sequence[Fraction],
    limits: Sequence[int],
    floors: Sequence[Fraction] | None = None,
) -> tuple[int, ...] | None:
    """The nearest feasible mixture: those that lack give all they have, and what is missing goes to
    the others in proportion to their shares.

    Returns
    -------
    Whole numbers with the sum ``budget``, none above its limit; None where there are none: the
    components with a share have too little together, or one too little for its floor.
    """
    least = [math.floor(budget * floor) for floor in floors or [Fraction(0)] * len(shares)]
    if any(limit < at_least for limit, at_least in zip(limits, least, strict=True)):
        return None
    full: set[int] = set()
    while True:
        left = budget - sum(limits[i] for i in full)
        open_ones = [i for i, share in enumerate(shares) if share > 0 and i not in full]
        total = sum((shares[i] for i in open_ones), Fraction(0))
        if left < 0 or (left and not open_ones):
            return None
        over = {i for i in open_ones if left * shares[i] > limits[i] * total}
        if not over:
            break
        full |= over
    if not open_ones:
        return tuple(limits[i] if i in full else 0 for i in range(len(shares)))
    given = apportioned(left, [shares[i] / total for i in open_ones])
    found = [limits[i] if i in full else 0 for i in range(len(shares))]
    for i, amount in zip(open_ones, given, strict=True):
        found[i] = amount
    return tuple(found)


def largest_budget(shares: Sequence[Fraction], limits: Sequence[int]) -> int:
    """The most that a mixture of exactly these shares can be asked for."""
    return min(
        math.floor(limit / share) for limit, share in zip(limits, shares, strict=True) if share > 0
    )


def whole_weights(shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Whole numbers in the same proportions, as small as there are."""
    common = math.lcm(*(share.denominator for share in shares))
    found = [int(share * common) for share in shares]
    divisor = math.gcd(*found)
    return tuple(weight // divisor for weight in found) if divisor else tuple(found)
