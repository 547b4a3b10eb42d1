"""Hold a student's scores against judgements that it has not seen, beside two baselines.

The baselines are the logarithm of the length in characters, and a fastText classifier fitted to the
same labels. What is measured, each with its interval: Spearman on held-out labels; the same given
length and language; the share of the ceiling, which is the agreement of two blind ratings; AUC on
people's votes to keep or to drop a document; bias by origin, language and category; calibration;
and what orders inside a document, addressed to whoever scores it, bring about.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quality.reward.evaluation.measures import (
    DRAWS,
    Interval,
    auc,
    indicators,
    interval,
    partial_spearman,
    spearman,
)
from quality.reward.evaluation.votes import Vote
from quality.reward.labels import CATEGORIES, HIGHEST, SCORES, Agreement, Label

F64 = NDArray[np.float64]

PRIMARY = ("depth", "helpfulness")
"""What tiers are made of, in sum."""
STUDENT, LENGTH, FASTTEXT = "student", "log-length", "fasttext"
_FEWEST = 8
"""Documents of a group whose bias is told."""


@dataclass(frozen=True)
class Bias:
    """Of the documents of a group: how far the student lies above the labels, on average."""

    group: str
    documents: int
    label: float
    difference: Interval


@dataclass(frozen=True)
class Reliability:
    """Documents whose scores lie in a range: mean score and mean label."""

    low: float
    high: float
    documents: int
    score: float
    label: float


class Order(Protocol):
    """A document that asks whoever scores it for a high score, and what its content deserves."""

    @property
    def text(self) -> str: ...
    @property
    def at_most(self) -> int: ...


@dataclass(frozen=True)
class Injected:
    """What injected orders bring about in ``depth``.

    documents : scored alone, with their mean; ``above``: by half a point or more above their bound
    moved : how far orders in front of held-out documents move those, on average and at most
    """

    documents: int
    depth: float
    above: int
    moved_mean: float
    moved_most: float

    def as_json(self) -> dict[str, float]:
        """The numbers."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Evaluation:
    """All that ``evaluate`` measures. Keys of inner maps are scorers or scores.

    spearman, partial : by score, then scorer
    ahead : by score, then baseline: the student's Spearman less the baseline's
    ceiling : Spearman of two blind ratings by score
    votes : documents voted on; ``auc`` and ``auc_ahead`` are None without votes
    recall : share found of the held-out documents of each category, and their number
    """

    documents: int
    spearman: dict[str, dict[str, Interval]]
    partial: dict[str, dict[str, Interval]]
    ahead: dict[str, dict[str, Interval]]
    ceiling: dict[str, float]
    within: dict[str, float]
    category: float
    recall: dict[str, tuple[float, int]]
    votes: int
    auc: dict[str, Interval] | None
    auc_ahead: dict[str, Interval] | None
    bias: dict[str, dict[str, list[Bias]]]
    reliability: dict[str, list[Reliability]]
    injections: Injected | None

    @property
    def leads(self) -> bool:
        """Whether the student beats both baselines, each time with an interval that excludes 0: in
        both primary scores, and in people's votes. Without votes it does not."""
        if self.auc_ahead is None:
            return False
        against = [*self.auc_ahead.values(), *(a for s in PRIMARY for a in self.ahead[s].values())]
        return all(difference.excludes(0) for difference in against)


Scorer = Callable[[Sequence[str]], Mapping[str, F64]]
"""Scores of texts by name, each float64[n]."""


def scorer_of(score: Callable[[pa.Array], pa.Table]) -> Scorer:
    """A scorer of a function that gives a table of reward signals."""

    def scores(texts: Sequence[str]) -> Mapping[str, F64]:
        table = score(pa.array(texts, pa.large_string()))
        return {name: table[f"reward.{name}"].to_numpy().astype(np.float64) for name in SCORES}

    return scores


def by_length(texts: Sequence[str]) -> Mapping[str, F64]:
    """The baseline that scores by length alone: log(1 + characters)."""
    length = np.log1p(np.array([len(text) for text in texts], np.float64))
    return dict.fromkeys(SCORES, length)


def evaluate(
    labels: Sequence[Label],
    texts: Sequence[str],
    student: Callable[[pa.Array], pa.Table],
    baselines: Mapping[str, Scorer],
    ceiling: Agreement,
    votes: Sequence[Vote] = (),
    orders: Sequence[Order] = (),
    watch: Callable[[str], None] = lambda _: None,
    draws: int = DRAWS,
) -> Evaluation:
    """Evaluate on held-out labels, one each document, on votes, and on injected orders.

    Parameters
    ----------
    labels, texts : n held-out judgements and what was judged
    student : gives a table of reward signals for texts
    baselines : scorers by name
    draws : samples of each interval; a quarter of them for what is given length and language

    Raises
    ------
    ValueError
        If too few documents are there, or they do not differ.
    """
    watch("scoring held-out documents")
    table = student(pa.array(texts, pa.large_string()))
    found: dict[str, Mapping[str, F64]] = {
        STUDENT: {name: table[f"reward.{name}"].to_numpy().astype(np.float64) for name in SCORES},
        **{name: scorer(texts) for name, scorer in baselines.items()},
    }
    truth = {name: np.array([getattr(label, name) for label in labels], float) for name in SCORES}
    languages = indicators([label.language or "none" for label in labels])
    length = by_length(texts)[SCORES[0]]
    given = np.column_stack([np.argsort(np.argsort(length)).astype(float), languages])

    watch("intervals of Spearman's correlations")
    n = len(labels)

    def rank(scorer: str, score: str) -> Callable[[NDArray[np.int64]], float]:
        return lambda at: spearman(found[scorer][score][at], truth[score][at])

    def partial(scorer: str, score: str) -> Callable[[NDArray[np.int64]], float]:
        return lambda at: partial_spearman(found[scorer][score][at], truth[score][at], given[at])

    def ahead(baseline: str, score: str) -> Callable[[NDArray[np.int64]], float]:
        mine, other = rank(STUDENT, score), rank(baseline, score)
        return lambda at: mine(at) - other(at)

    ranks = {s: {who: interval(rank(who, s), n, draws) for who in found} for s in SCORES}
    watch("intervals given length and language")
    # Given the length, nothing is left of a score that is the length.
    partials = {
        s: {who: interval(partial(who, s), n, draws // 4) for who in found if who != LENGTH}
        for s in SCORES
    }
    watch("differences from the baselines")
    differences = {s: {who: interval(ahead(who, s), n, draws) for who in baselines} for s in SCORES}

    people, people_ahead = _votes(student, baselines, votes, watch, draws)
    categories = table["reward.category"].to_pylist()
    right = np.array([a == label.category for a, label in zip(categories, labels, strict=True)])
    return Evaluation(
        documents=n,
        spearman=ranks,
        partial=partials,
        ahead=differences,
        ceiling=dict(ceiling.spearman),
        within={s: float((np.abs(found[STUDENT][s] - truth[s]) <= 1).mean()) for s in SCORES},
        category=float(right.mean()),
        recall=_recall(labels, right),
        votes=len(votes),
        auc=people,
        auc_ahead=people_ahead,
        bias={
            by: {s: _bias(groups, found[STUDENT][s], truth[s], draws) for s in PRIMARY}
            for by, groups in _groups(labels).items()
        },
        reliability={s: _reliability(found[STUDENT][s], truth[s]) for s in PRIMARY},
        injections=_injected(student, orders, texts, found[STUDENT]["depth"]) if orders else None,
    )


def _votes(
    student: Callable[[pa.Array], pa.Table],
    baselines: Mapping[str, Scorer],
    votes: Sequence[Vote],
    watch: Callable[[str], None],
    draws: int,
) -> tuple[dict[str, Interval] | None, dict[str, Interval] | None]:
    if not votes:
        return None, None
    watch("people's votes")
    texts = [vote.text for vote in votes]
    kept = np.array([vote.keep for vote in votes])
    scorers = {STUDENT: scorer_of(student), **baselines}
    sums = {}
    for who, scorer in scorers.items():
        scores = scorer(texts)
        sums[who] = np.sum([scores[name] for name in PRIMARY], axis=0)
    n = len(votes)

    def ahead(who: str) -> Callable[[NDArray[np.int64]], float]:
        return lambda at: auc(sums[STUDENT][at], kept[at]) - auc(sums[who][at], kept[at])

    def alone(who: str) -> Callable[[NDArray[np.int64]], float]:
        return lambda at: auc(sums[who][at], kept[at])

    return (
        {who: interval(alone(who), n, draws) for who in sums},
        {who: interval(ahead(who), n, draws) for who in baselines},
    )


def _injected(
    student: Callable[[pa.Array], pa.Table],
    orders: Sequence[Order],
    texts: Sequence[str],
    depth: F64,
) -> Injected:
    def depths(some: Sequence[str]) -> F64:
        table = student(pa.array(some, pa.large_string()))
        return np.asarray(table["reward.depth"].to_numpy(), np.float64)

    alone = depths([order.text for order in orders])
    bounds = np.array([order.at_most for order in orders])
    # In front, where every document is read however long it is.
    moved = depths([f"{orders[i % len(orders)].text}\n\n{text}" for i, text in enumerate(texts)])
    return Injected(
        len(orders),
        float(alone.mean()),
        int((alone >= bounds + 0.5).sum()),
        float((moved - depth).mean()),
        float((moved - depth).max()),
    )


def _recall(labels: Sequence[Label], right: NDArray[np.bool_]) -> dict[str, tuple[float, int]]:
    found = {}
    for name in CATEGORIES:
        mine = np.array([label.category == name for label in labels])
        if mine.any():
            found[name] = (float(right[mine].mean()), int(mine.sum()))
    return found


def _groups(labels: Sequence[Label]) -> dict[str, list[str]]:
    return {
        "origin": [label.origin for label in labels],
        "language": [label.language or "none" for label in labels],
        "category": [label.category for label in labels],
    }


def _bias(groups: Sequence[str], scores: F64, truth: F64, draws: int) -> list[Bias]:
    found = []
    for name in sorted(set(groups)):
        at = np.flatnonzero([group == name for group in groups])
        if len(at) >= _FEWEST:
            gaps = scores[at] - truth[at]
            mean = interval(lambda draw, gaps=gaps: float(gaps[draw].mean()), len(at), draws)  # type: ignore[misc]
            found.append(Bias(name, len(at), float(truth[at].mean()), mean))
    return found


def _reliability(scores: F64, truth: F64) -> list[Reliability]:
    edges = (0, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 5.01)
    found = []
    for low, high in itertools.pairwise(edges):
        mine = (scores >= low) & (scores < high)
        if mine.any():
            found.append(
                Reliability(
                    low,
                    min(high, HIGHEST),
                    int(mine.sum()),
                    float(scores[mine].mean()),
                    float(truth[mine].mean()),
                )
            )
    return found
