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


def nearest_mixture(
    budget: int,
    wish: Sequence[Fraction | int],
    limits: Sequence[int],
    floors: Sequence[Fraction] | None = None,
) -> tuple[int, ...] | None:
    """The mixture nearest to a wish that limits allow: those that lack give all they have, and what
    is missing goes to the others in proportion.

    Parameters
    ----------
    wish : shares or weights, not negative, one above 0; what has none, and no floor, stays without
    limits : the most of each
    floors : from 0 to 1, with a sum of at most 1; a component with less than its floor gives all it
        has, and the others keep theirs

    Returns
    -------
    Whole numbers with the sum ``budget``, none above its limit; the wish itself, to a unit, where
    the limits allow it. None where the components that are drawn from have too little together.
    """
    whole = sum(wish, Fraction(0))
    shares = [Fraction(part) / whole for part in wish]
    if floors is not None:
        shares = list(with_floors(shares, floors))
    drawn = [i for i, share in enumerate(shares) if share]
    if sum(limits[i] for i in drawn) < budget:
        return None
    found = [0] * len(shares)
    left = budget
    while True:
        total = sum((shares[i] for i in drawn), Fraction(0))
        full = {i for i in drawn if left * shares[i] > limits[i] * total}
        if not full:
            break
        for i in full:
            found[i] = limits[i]
        left -= sum(limits[i] for i in full)
        drawn = [i for i in drawn if i not in full]
    for i, amount in zip(drawn, apportioned(left, [shares[i] / total for i in drawn]), strict=True):
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
