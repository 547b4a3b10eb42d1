"""Labels: judgements of documents after reading them, by ``rubric-N.md``; one row a judgement.

``labels-1.jsonl`` has, of each, ``content_id`` (hex; the hash of the extracted text), where to get
the document (``from``: a recipe of this project and its source, or a public repository and folder;
``uri`` and ``offset`` there), ``language`` as the language model has it, ``characters``,
``rater``, ``rubric``, ``rating`` (2 of a second, blind one), ``split``, scores, ``category`` and
``reason``. Labels by a model (``labeler``) may have two more scores, by which others are checked.

Raters are instances of one large language model, which read each document, of long ones the
beginning, middle and end; no score was computed. So their agreement is that of one reader with
itself, and says nothing of how people would judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from scipy.stats import spearmanr

SCORES = ("depth", "helpfulness", "coherence")
SECONDARY = ("conciseness", "educational_value")
"""Scores that a label may have besides; nothing is fitted to them."""
HIGHEST = 5
CATEGORIES = (
    "software_documentation",
    "source_code",
    "science_and_mathematics",
    "engineering_and_technology",
    "health",
    "business_and_finance",
    "law_and_government",
    "news",
    "history_and_society",
    "arts_and_literature",
    "education",
    "lifestyle",
    "conversation",
    "commerce",
    "reference_lists",
    "debris",
)
LABELS = Path(__file__).with_name("labels-1.jsonl")


class LabelError(ValueError):
    """A row is no judgement by the rubric; names file, line, field, what was found and expected."""


@dataclass(frozen=True)
class Label:
    """A judgement of a document."""

    content_id: bytes
    origin: str
    uri: str
    offset: int
    language: str | None
    characters: int
    rater: str
    rubric: int
    rating: int
    split: Literal["train", "heldout"]
    depth: int
    helpfulness: int
    coherence: int
    category: str
    reason: str
    conciseness: int | None = None
    educational_value: int | None = None


@dataclass(frozen=True)
class Agreement:
    """How far first and second ratings of the same documents agree: the ceiling of any student.

    ``spearman`` by score, ``exact`` the share of equal scores, ``within_one`` of those that differ
    by 1 at most; ``category`` is Cohen's kappa.
    """

    documents: int
    spearman: dict[str, float]
    exact: dict[str, float]
    within_one: dict[str, float]
    category: float


def load_labels(path: Path = LABELS) -> list[Label]:
    """All judgements of a file, in its order.

    Raises
    ------
    LabelError
        Naming the first row that is none, or a document that is rated twice by one rater.
    """
    labels = [
        _label(line, f"{path}: line {number}")
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
    ]
    seen: set[tuple[bytes, str]] = set()
    for number, label in enumerate(labels, 1):
        key = (label.content_id, label.rater)
        if key in seen:
            raise LabelError(
                f"{path}: line {number}: found a second judgement of {label.content_id.hex()} by "
                f"rater {label.rater!r}, expected another rater's"
            )
        seen.add(key)
    return labels


def agreement(labels: Sequence[Label]) -> Agreement:
    """Compare the ratings of documents that were rated twice.

    Raises
    ------
    ValueError
        If there are none.
    """
    first = {label.content_id: label for label in labels if label.rating == 1}
    pairs = [(first[label.content_id], label) for label in labels if label.rating == 2]
    if not pairs:
        raise ValueError("found no document that was rated twice, expected some")
    scores = {
        name: np.array([[getattr(one, name), getattr(other, name)] for one, other in pairs])
        for name in SCORES
    }
    apart = {name: np.abs(np.diff(found, axis=1)) for name, found in scores.items()}
    return Agreement(
        len(pairs),
        {name: float(spearmanr(found).statistic) for name, found in scores.items()},
        {name: float((found == 0).mean()) for name, found in apart.items()},
        {name: float((found <= 1).mean()) for name, found in apart.items()},
        _kappa([(one.category, other.category) for one, other in pairs]),
    )


def _kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Agreement above what the raters' own frequencies give by chance (Cohen 1960)."""
    same = sum(one == other for one, other in pairs) / len(pairs)
    chance = (
        sum(
            sum(one == name for one, _ in pairs) * sum(other == name for _, other in pairs)
            for name in CATEGORIES
        )
        / len(pairs) ** 2
    )
    return (same - chance) / (1 - chance)


def _label(line: bytes, where: str) -> Label:
    try:
        row: dict[str, Any] = orjson.loads(line)
        fields = {**row, "origin": row["from"], "content_id": bytes.fromhex(row["content_id"])}
        del fields["from"]
        label = Label(**fields)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{where}: {error!r}, expected the fields of a label") from error
    for name in (*SCORES, *SECONDARY):
        found = getattr(label, name)
        if found is None and name in SECONDARY:
            continue
        if type(found) is not int or not 0 <= found <= HIGHEST:
            raise LabelError(f"{where}: {name}: found {found!r}, expected 0 to {HIGHEST}")
    if label.category not in CATEGORIES:
        raise LabelError(
            f"{where}: category: found {label.category!r}, expected one of {', '.join(CATEGORIES)}"
        )
    if label.split not in ("train", "heldout"):
        raise LabelError(f"{where}: split: found {label.split!r}, expected train or heldout")
    if not label.reason.strip():
        raise LabelError(f"{where}: reason: found none, expected a line")
    return label
