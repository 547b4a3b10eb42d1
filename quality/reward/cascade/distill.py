"""Labels to a cascade's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from quality.reward.cascade.network import Shape, words_of
from quality.reward.cascade.scoring import Middle, write_cascade
from quality.reward.cascade.training import train
from quality.reward.judged import Judged
from quality.reward.labels import SCORES
from quality.reward.student.distill import fit_to
from quality.reward.student.scoring import Student


@dataclass(frozen=True)
class Distilled:
    """A cascade's bytes, how far its network is believed by score, and the penalty below it."""

    bytes: int
    trust: dict[str, float]
    penalty: float
    middle: Middle


def distill_cascade(
    judged: Judged,
    labels: Path,
    out: Path,
    share: float,
    watch: Callable[[str], None] = lambda _: None,
) -> Distilled:
    """Fit a linear student and a network for the middle ``share`` of documents; write the file."""
    fit = fit_to(judged, labels, watch)
    shape = Shape()
    truth = np.array([[getattr(label, name) for name in SCORES] for label in judged.labels], float)
    # Other bytes than those by which the linear folds were made: every network sees linear scores
    # of all folds.
    folds = np.array([int.from_bytes(label.content_id[4:8], "little") for label in judged.labels])
    words = words_of(pa.array(judged.texts, pa.large_string()), shape.bits)
    made = train(words, fit.crossed, truth, folds, shape, watch)
    middle = Middle.of(fit.crossed, share)
    data = write_cascade(Student(fit.model, ""), made.network, made.trust, middle)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    trust = dict(zip(SCORES, made.trust.tolist(), strict=True))
    return Distilled(len(data), trust, fit.penalty, middle)
