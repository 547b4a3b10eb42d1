"""Mixture-of-experts compute, grouped by expert.

``grouped_experts`` does it all; ``permute``, ``experts`` and ``unpermute`` are its parts, for a
trainer that exchanges rows between ranks in between. ``over_capacity`` decides on drops ahead,
where a sequence lies on several ranks; ``reference`` is the plain form.
"""

from . import reference
from .api import Permuted, experts, grouped_experts, permute, unpermute
from .capacity import expert_capacity, over_capacity

__all__ = [
    "Permuted",
    "expert_capacity",
    "experts",
    "grouped_experts",
    "over_capacity",
    "permute",
    "reference",
    "unpermute",
]
