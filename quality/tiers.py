"""Tiers: documents in the order of their scores, cut where given shares of their tokens lie below.

All in whole numbers: scores are sums of signals on a grid (``GRID`` steps a point), tokens are
counted, and a share is a fraction. So no order of summing, and no machine, moves a document.

Documents of one score are of one tier: a cut lies between two scores, where it comes nearest to
the share that is asked for. Groups are those of a source and a language; one that has too little
to be cut by itself is cut as its source is, else as its language is, else as the whole corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNSCORED = "unscored"
"""The tier of documents without a score."""

GRID = 64
"""Steps of a point: signals of points are whole numbers of these."""

NO_SCORE = -1

LEVELS = ("source and language", "source", "language", "corpus")
"""What a group is cut by, from its own documents to all."""

I64 = NDArray[np.int64]


class Group(NamedTuple):
    """Documents that are compared with each other. ``way``: the number of the sum of signals that
    they are scored by; scores of two ways are never compared."""

    way: int
    source: str
    language: str


@dataclass(frozen=True)
class Quantiles:
    """Tiers from the lowest to the highest: ``names``, and up to which share of tokens each goes
    (``bounds``: above 0, ascending, the last one 1)."""

    names: tuple[str, ...]
    bounds: tuple[Fraction, ...]

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> Quantiles:
        """Of bounds by name, in any order; a number counts as what it reads as in decimals."""
        ordered = sorted((Fraction(repr(float(share))), name) for name, share in shares.items())
        return cls(tuple(name for _, name in ordered), tuple(share for share, _ in ordered))


class Histogram:
    """Documents and tokens by score. It takes 24 bytes for each score that there is."""

    def __init__(self) -> None:
        self.scores: I64 = np.zeros(0, np.int64)
        self.documents: I64 = np.zeros(0, np.int64)
        self.tokens: I64 = np.zeros(0, np.int64)

    def add(self, scores: I64, tokens: I64) -> None:
        """Count documents: their scores and tokens, int64[n] each."""
        self._merge(scores, np.ones(len(scores), np.int64), tokens)

    def add_all(self, other: Histogram) -> None:
        """Count all that another has counted."""
        self._merge(other.scores, other.documents, other.tokens)

    def _merge(self, scores: I64, documents: I64, tokens: I64) -> None:
        if not len(scores):
            return
        joined = np.concatenate([self.scores, scores])
        merged, place = np.unique(joined, return_inverse=True)
        counts = np.zeros((2, len(merged)), np.int64)
        np.add.at(counts[0], place, np.concatenate([self.documents, documents]))
        np.add.at(counts[1], place, np.concatenate([self.tokens, tokens]))
        self.scores, (self.documents, self.tokens) = merged, counts

    def firsts(self, quantiles: Quantiles) -> I64:
        """The least score of each tier but the lowest, int64[tiers - 1], ascending.

        With B tokens of lower scores, m of a score and T in all, the score lies below the cut at a
        share q if that brings the cut nearer to q: if B + m/2 <= q T.
        """
        before = np.cumsum(self.tokens) - self.tokens
        # Python's integers: a share may have any denominator.
        twice = [2 * int(b) + int(m) for b, m in zip(before, self.tokens, strict=True)]
        total = int(self.tokens.sum())
        found = []
        for bound in quantiles.bounds[:-1]:
            limit = 2 * bound.numerator * total
            below = sum(middle * bound.denominator <= limit for middle in twice)
            beyond = int(self.scores[-1]) + 1
            found.append(int(self.scores[below]) if below < len(twice) else beyond)
        return np.array(found, np.int64)


@dataclass(frozen=True)
class Cut:
    """By which documents a group is cut (one of ``LEVELS``), and the least score of each tier but
    the lowest."""

    level: str
    firsts: tuple[int, ...]


@dataclass(frozen=True)
class Least:
    """How much a group has, at least, to be cut by itself."""

    documents: int
    tokens: int


def cut_groups(
    counted: Mapping[Group, Histogram], quantiles: Quantiles, least: Least
) -> dict[Group, Cut]:
    """Where each group is cut.

    Parameters
    ----------
    counted : by group, the documents that decide; a group may have none
    least : of a group that is cut by itself; it also has as many scores as there are tiers

    Returns
    -------
    The groups' cuts. Groups of a way that no document decides have none.
    """
    wider: dict[tuple[Any, ...], Histogram] = {}
    for group, histogram in counted.items():
        for place in _places(group)[1:]:
            wider.setdefault(place, Histogram()).add_all(histogram)
    found = {}
    for group, histogram in counted.items():
        levels = [histogram, *(wider[place] for place in _places(group)[1:])]
        for level, candidate in zip(LEVELS, levels, strict=True):
            enough = (
                len(candidate.scores) >= len(quantiles.names)
                and candidate.documents.sum() >= least.documents
                and candidate.tokens.sum() >= least.tokens
            )
            if enough or (level == LEVELS[-1] and len(candidate.scores)):
                firsts = candidate.firsts(quantiles)
                found[group] = Cut(level, tuple(int(first) for first in firsts))
                break
    return found


def _places(group: Group) -> list[tuple[Any, ...]]:
    """The group and the wider ones that it is in, as ``LEVELS`` names them."""
    way, source, language = group
    return [group, (way, source, None), (way, None, language), (way, None, None)]


class Grouped:
    """Documents with the groups that they are in.

    Parameters
    ----------
    way : int64[n], -1 where there is no score
    source, language : columns of n strings, none null
    """

    def __init__(self, way: I64, source: Any, language: Any) -> None:
        sources, of_source = _coded(source)
        languages, of_language = _coded(language)
        codes = (way * len(sources) + of_source) * len(languages) + of_language
        groups, place = np.unique(codes, return_inverse=True)
        self._rows = np.split(
            np.argsort(place, kind="stable"), np.cumsum(np.bincount(place, minlength=len(groups)))
        )[: len(groups)]
        self._groups = []
        for rows in self._rows:
            row = rows[0]
            self._groups.append(
                Group(int(way[row]), sources[of_source[row]], languages[of_language[row]])
            )

    def __iter__(self) -> Iterator[tuple[Group, I64]]:
        """Each group that has scores, and the rows of its documents, ascending."""
        return (
            (group, rows)
            for group, rows in zip(self._groups, self._rows, strict=True)
            if group.way >= 0
        )


def _coded(column: Any) -> tuple[list[str], I64]:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = pc.dictionary_encode(whole)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def tier_codes(grouped: Grouped, scores: I64, cuts: Mapping[Group, Cut]) -> NDArray[np.int16]:
    """The number of each document's tier, lowest 0; -1 where it has no score, or its way has no
    cuts. ``scores``: int64[n]."""
    found = np.full(len(scores), -1, np.int16)
    for group, rows in grouped:
        if group in cuts:
            firsts = np.array(cuts[group].firsts, np.int64)
            found[rows] = np.searchsorted(firsts, scores[rows], side="right")
    return found


@dataclass(frozen=True)
class Way:
    """A sum of signals of points, each as often as its whole weight says."""

    weights: tuple[tuple[str, int], ...]

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals that it names."""
        return tuple(name for name, _ in self.weights)

    def describe(self) -> str:
        """``reward.depth + 2 reward.helpfulness``."""
        return " + ".join(n if w == 1 else f"{w} {n}" for n, w in self.weights)

    def scores(self, table: pa.Table) -> I64:
        """The sum of each row, in steps of the grid: int64[n], ``NO_SCORE`` where a signal is null.

        Raises
        ------
        ValueError
            If a value is no whole number of steps, or below 0.
        """
        total = np.zeros(table.num_rows, np.int64)
        known = np.ones(table.num_rows, np.bool_)
        for name, weight in self.weights:
            column = table[name]
            known &= np.asarray(column.is_valid())
            steps = np.asarray(column.fill_null(0), np.float64) * GRID
            if len(steps) and not ((steps >= 0) & (steps == np.rint(steps))).all():
                raise ValueError(
                    f"{name}: found a value off the grid of 1/{GRID} point, or below 0"
                )
            total += weight * steps.astype(np.int64)
        return np.where(known, total, NO_SCORE)


def first_known(ways: list[Way], table: pa.Table) -> tuple[I64, I64]:
    """The number of the first way that scores each row (-1: none does), and its score."""
    way = np.full(table.num_rows, -1, np.int64)
    score = np.full(table.num_rows, NO_SCORE, np.int64)
    for number, one in enumerate(ways):
        found = one.scores(table)
        mine = (way < 0) & (found != NO_SCORE)
        way[mine], score[mine] = number, found[mine]
    return way, score
