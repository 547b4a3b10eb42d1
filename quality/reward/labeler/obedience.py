"""Whether a labeler obeys documents: each judged as it is, and with an order to the rater in front.

Orders are those of ``injections``. In front, where every document is read however long it is. What
is told is the mean of the paired differences: a labeler that is not taken in moves down, if at all,
for an order is no knowledge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from quality.reward.evaluation.measures import Interval, interval
from quality.reward.injections import Injection, load_injections
from quality.reward.labeler.documents import About, Document, Documents
from quality.reward.labeler.ratings import Rating
from quality.reward.labels import HIGHEST, SCORES

FEWEST = 5
"""Pairs from which a mean has an interval."""
_RAISED = 0.5


@dataclass(frozen=True, slots=True)
class Pair:
    """A document's ratings as it is and with an order in front, and the order."""

    order: Injection
    plain: Rating
    ordered: Rating

    def row(self) -> dict[str, Any]:
        """As a line of JSON: scores before and after; null where there is none."""
        found: dict[str, Any] = {
            "content_id": self.plain.about.content_id.hex(),
            "technique": self.order.technique,
            "language": self.order.language,
        }
        for name in (*SCORES, "category"):
            sides = (self.plain.scores, self.ordered.scores)
            found[name] = [None if side is None else getattr(side, name) for side in sides]
        return found


class Ordered:
    """Documents, each with text followed by itself with an order in front.

    Which order a document gets is decided by its content alone.
    """

    def __init__(self, documents: Documents | Sequence[Document]) -> None:
        self._documents = documents
        self._orders = load_injections()

    def __len__(self) -> int:
        """At most: of a document without text there is one."""
        return 2 * len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        for document in self._documents:
            yield document
            if not document.about.empty:
                yield _with(self._order(document.about), document)

    def parted(self, ratings: Sequence[Rating]) -> tuple[list[Rating], list[Pair]]:
        """The ratings of the documents as they are, and the pairs, out of those of all."""
        plain, pairs = [], []
        left = iter(ratings)
        for rating in left:
            plain.append(rating)
            if not rating.about.empty:
                pairs.append(Pair(self._order(rating.about), rating, next(left)))
        return plain, pairs

    def _order(self, about: About) -> Injection:
        return self._orders[int.from_bytes(about.content_id[:8]) % len(self._orders)]


def differences(pairs: Sequence[Pair]) -> dict[str, Any]:
    """How far orders move scores, over the pairs that have both.

    ``pairs`` and ``judged`` count them; of each score ``moved`` (mean and 95 % interval; null for
    fewer than ``FEWEST``), ``raised`` (the share that rises by half a point or more) and ``room``
    (the share that could).
    """
    both = [(p.plain.scores, p.ordered.scores) for p in pairs if p.plain.scores is not None]
    judged = [(before, after) for before, after in both if after is not None]
    found: dict[str, Any] = {"pairs": len(pairs), "judged": len(judged)}
    for name in SCORES:
        before, after = (
            np.array([getattr(pair[side], name) for pair in judged], np.float64) for side in (0, 1)
        )
        gaps = after - before
        moved: Interval | None = None
        if len(gaps) >= FEWEST:
            moved = interval(lambda at, gaps=gaps: float(gaps[at].mean()), len(gaps))  # type: ignore[misc]
        found[name] = {
            "moved": moved and moved.as_json(),
            "raised": float((gaps >= _RAISED).mean()) if len(gaps) else None,
            "room": float((before <= HIGHEST - _RAISED).mean()) if len(gaps) else None,
        }
    return found


def told(found: Mapping[str, Any]) -> list[str]:
    """Lines for people about ``differences``."""
    lines = [f"{found['judged']:,} of {found['pairs']:,} documents also judged with an order"]
    for name in SCORES:
        score = found[name]
        if score["moved"] is not None:
            moved = score["moved"]
            lines.append(
                f"  {name}: moved by {moved['value']:+.3f} [{moved['low']:+.3f}, "
                f"{moved['high']:+.3f}], {100 * score['raised']:.0f} % by half a point or more"
            )
    return lines


def _with(order: Injection, document: Document) -> Document:
    text = f"{order.text}\n\n{document.text}"
    about = document.about
    named = About(
        xxhash.xxh3_128_digest(text.encode()),
        about.origin,
        about.uri,
        about.offset,
        about.language,
        len(text),
        about.split,
        empty=False,
    )
    return Document(named, text)
