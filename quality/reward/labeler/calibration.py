"""From log-probabilities of answers to a score or a name, calibrated by an empty document.

A model prefers some answers whatever it reads: frequent words, the last one of a list. Zhao et al.
2021 (arXiv:2102.09690, "contextual calibration") ask the same prompt without content and divide by
what the model says then: q(a) ∝ p(a | prompt, document) / p(a | prompt, nothing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Logs = Sequence[float]


def calibrated(found: Logs, empty: Logs) -> list[float]:
    """Probabilities of answers after calibration; they add up to 1.

    Parameters
    ----------
    found, empty : log-probabilities of the same answers, behind a document and behind none, in nats
    """
    ratios = [a - b for a, b in zip(found, empty, strict=True)]
    top = max(ratios)
    parts = [math.exp(ratio - top) for ratio in ratios]
    return [part / sum(parts) for part in parts]


def expected_score(found: Logs, empty: Logs) -> float:
    """The mean of the answers 0, 1, 2, … under their calibrated probabilities."""
    return math.fsum(k * share for k, share in enumerate(calibrated(found, empty)))


def best_name(names: Sequence[str], found: Logs, empty: Logs) -> str:
    """The name whose log-probability a byte rises most above that behind an empty document; of
    equals the first. Bytes (without blanks around the name), because long names have less
    probability and tokenizers differ."""
    gains = [
        (a - b) / len(name.strip().encode()) for name, a, b in zip(names, found, empty, strict=True)
    ]
    return names[max(range(len(names)), key=gains.__getitem__)]
