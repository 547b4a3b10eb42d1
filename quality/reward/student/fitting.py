"""Fit the linear student to labels: ridge regression, its penalty by cross-validation, then whole
numbers.

The fit is done in floating point and may differ in its last bits from machine to machine; what it
makes is a file of whole numbers, and that scores alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import spearmanr

from kernels.text.gram_sums import NORM_BITS
from quality.reward.labels import CATEGORIES, SCORES, Label
from quality.reward.student.features import Bins, gram_rows
from quality.reward.student.model import OUTPUTS, POINT_BITS, SCALE_BITS, StudentModel
from quality.reward.student.ridge import solve
from quality.signals import schema

F64 = NDArray[np.float64]

BITS = 17
BINS = 12
PENALTIES = (0.03, 0.1, 0.3, 1.0)
FOLDS = 5
FEWEST = 50
"""Documents to fit on."""


@dataclass(frozen=True)
class Fit:
    """A student, and what cross-validation said of it.

    penalty : the one that was chosen, by the mean Spearman of depth and helpfulness
    spearman : of each penalty, by score, over predictions of documents that were not fitted on
    crossed : those predictions by the chosen one, calibrated, float64[n, scores]
    """

    model: StudentModel
    penalty: float
    spearman: dict[float, dict[str, float]]
    crossed: F64


def fit_student(
    labels: Sequence[Label],
    texts: Sequence[str],
    signals: Mapping[str, Any],
    about: Mapping[str, object],
    watch: Callable[[str], None] = lambda _: None,
) -> Fit:
    """Fit a student.

    Parameters
    ----------
    labels, texts : n judgements and the documents judged
    signals : the scan's, each an array [n]
    about : what the file says of where it comes from

    Raises
    ------
    ValueError
        For fewer than ``FEWEST`` documents.
    """
    if len(labels) < FEWEST:
        raise ValueError(f"labels: found {len(labels)} with a text, expected {FEWEST} or more")
    names = schema("scan").names
    bins = Bins.at_quantiles(signals, names, BINS)
    watch("counting words and 4-grams")
    words, grams = (gram_rows(texts, BITS, words=kind) for kind in (True, False))
    steps = bins.steps(signals)
    # Each block weighs as much as the others: a row of words or grams has length 1, steps are
    # brought to that on average.
    scale = 1 / np.sqrt(max(steps.sum() / len(labels), 1))
    scores_rows = sparse.hstack([words, grams, scale * steps], "csr")
    category_rows = sparse.hstack([words, scale * steps], "csr")
    scores = np.array([[getattr(label, name) for name in SCORES] for label in labels], np.float64)
    categories = np.array([[label.category == name for name in CATEGORIES] for label in labels])

    folds = np.array([int.from_bytes(label.content_id[:4], "little") % FOLDS for label in labels])
    found: dict[float, dict[str, float]] = {}
    predictions: dict[float, F64] = {}
    for penalty in PENALTIES:
        watch(f"cross-validation, penalty {penalty:g}")
        predictions[penalty] = _crossed(scores_rows, scores, penalty, folds)
        found[penalty] = {
            name: float(spearmanr(predictions[penalty][:, j], scores[:, j]).statistic)
            for j, name in enumerate(SCORES)
        }
    best = max(PENALTIES, key=lambda p: found[p]["depth"] + found[p]["helpfulness"])

    watch("fitting")
    means, category_means = scores.mean(axis=0), categories.mean(axis=0)
    score_weights = scores_rows.T @ solve(scores_rows, scores - means, best)
    category_weights = category_rows.T @ solve(category_rows, categories - category_means, best)
    # Ridge draws predictions to the mean; a line through those of documents that were not fitted
    # on takes that back, and changes no order.
    slopes, offsets = _lines(predictions[best], scores)
    score_weights *= slopes
    means = means * slopes + offsets

    size = 1 << BITS
    model = _whole(
        words=np.hstack([score_weights[:size], category_weights[:size]]),
        grams=score_weights[size : 2 * size],
        steps=scale * np.hstack([score_weights[2 * size :], category_weights[size:]]),
        intercepts=np.concatenate([means, category_means]),
        bins=bins,
        about={**about, "penalty": best, "documents": len(labels)},
    )
    return Fit(model, best, found, predictions[best] * slopes + offsets)


def _crossed(rows: sparse.csr_matrix, targets: F64, penalty: float, folds: F64) -> F64:
    """Predictions of each fold by what the others fit."""
    found = np.empty_like(targets)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        mean = targets[inside].mean(axis=0)
        alpha = solve(rows[inside], targets[inside] - mean, penalty)
        found[outside] = rows[outside] @ (rows[inside].T @ alpha) + mean
    return found


def _lines(predictions: F64, targets: F64) -> tuple[F64, F64]:
    """Slope and offset of each output's least-squares line from predictions to targets; never a
    slope below 1/2, which few labels could give by chance."""
    slopes, offsets = np.ones(targets.shape[1]), np.zeros(targets.shape[1])
    for j in range(targets.shape[1]):
        slope = np.polyfit(predictions[:, j], targets[:, j], 1)[0]
        slopes[j] = max(slope, 0.5)
        offsets[j] = targets[:, j].mean() - slopes[j] * predictions[:, j].mean()
    return slopes, offsets


def _whole(
    *, words: F64, grams: F64, steps: F64, intercepts: F64, bins: Bins, about: dict[str, object]
) -> StudentModel:
    """Weights in points as whole numbers."""
    word_weights, word_scales = _bytes(words)
    gram_weights, gram_scales = _bytes(grams)
    tables, places, at = [], [0], 0
    for edges in bins.edges.values():
        # A bin's number is the sum of the steps up to it.
        part = np.cumsum(steps[at : at + len(edges)], axis=0)
        tables.append(np.vstack([np.zeros((1, len(OUTPUTS))), part]))
        at += len(edges)
        places.append(at)
    unit = float(1 << POINT_BITS)
    return StudentModel(
        word_weights=word_weights,
        word_scales=word_scales,
        gram_weights=gram_weights,
        gram_scales=gram_scales,
        signals=tuple(bins.edges),
        edges=np.concatenate(list(bins.edges.values())),
        edge_places=np.array(places, np.int64),
        bins=np.rint(np.vstack(tables) * unit).astype(np.int32),
        intercepts=np.rint(intercepts * unit).astype(np.int64),
        about=about,
    )


def _bytes(weights: F64) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """int8 weights of each output, and the multiplier that brings sums of them (in units of
    2^-NORM_BITS) to points in units of 2^-POINT_BITS, after a shift by SCALE_BITS."""
    step = np.maximum(np.abs(weights).max(axis=0), 1e-9) / 127
    multiplier = step * 2.0 ** (POINT_BITS + SCALE_BITS - NORM_BITS)
    return (
        np.ascontiguousarray(np.rint(weights / step).astype(np.int8)),
        np.rint(multiplier).astype(np.int64),
    )
