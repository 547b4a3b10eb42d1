"""Rewards: how deep, how helpful and what a text is; labels, students, and their evaluation.

``score`` is the front door: a table of texts in, a table of scores out, offline.
"""

from quality.reward.front import score

__all__ = ["score"]
