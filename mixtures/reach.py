"""How far into its last epoch a plan reads a component: the rest need not be sorted.

Documents of an epoch come in the order of hashes, so a budget that ends within an epoch reads those
below some hash. Which one is not known before they are sorted, but about: a share of an epoch's
tokens has about that share of all hashes. A plan is first compiled with a margin above it; where
that was not enough, which is seen, once more with all documents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

DEVIATIONS = 8
"""Standard deviations of the tokens below a hash, by which more are sorted than are expected."""

_SAMPLE_TOKENS = 1 << 18
"""Of what is read together and has one hash: more than a sample's usual. A larger one makes the
margin smaller than it should be, and costs a second try."""
EVERYTHING = (1 << 64) - 1
"""The greatest hash there is."""


class ReachTooShort(Exception):
    """The documents below the hash did not suffice: sort all."""


def last_reach(wanted: int, epoch: int, epochs: int, longest: int) -> int:
    """The greatest hash of a component's last epoch that is sorted, of 0 to `EVERYTHING`.

    Parameters
    ----------
    wanted : tokens that are read of the component
    epoch : tokens of an epoch
    epochs : how many are begun
    longest : tokens of the longest document, or what is asked to stay together where that is more
    """
    if not epochs:
        return EVERYTHING
    share = (wanted - (epochs - 1) * epoch) / epoch
    together = max(longest, _SAMPLE_TOKENS) / epoch
    share += DEVIATIONS * math.sqrt(max(share, together) * together)
    return EVERYTHING if share >= 1 else int(max(share, 0) * EVERYTHING)


def last_reaches(
    wanted: Sequence[int], supply: Sequence[int], epochs: Sequence[int], longest: int, *, all_: bool
) -> list[int]:
    """`last_reach` of each component; with ``all_`` none leaves anything out."""
    if all_:
        return [EVERYTHING] * len(wanted)
    return [last_reach(*found, longest) for found in zip(wanted, supply, epochs, strict=True)]
