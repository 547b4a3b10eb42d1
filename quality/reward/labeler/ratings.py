"""What a labeler makes of documents, whoever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quality.endpoint.failures import REASONS
from quality.reward.labeler.documents import About

EMPTY, TOO_LONG = "empty", "too-long"
WHY_NOT: Mapping[str, str] = MappingProxyType(
    {
        **REASONS,
        EMPTY: "The document has no text; it was not asked about.",
        TOO_LONG: "No excerpt of the document fits into what the model reads.",
    }
)
"""Every reason why a document has no label, and its meaning."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A judgement: points in [0, 5], the category, a line of reason; None: was not asked."""

    depth: float
    helpfulness: float
    coherence: float
    category: str
    reason: str
    conciseness: int | None = None
    educational_value: int | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """A document and its scores, or the reason (of ``WHY_NOT``) and detail why it has none."""

    about: About
    scores: Scores | None
    why: str | None = None
    detail: str = ""
