"""Labels with the texts that they judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quality.reward.documents import DocumentsError, held_out, texts_of
from quality.reward.labels import Label


@dataclass(frozen=True)
class Judged:
    """Labels and the texts they judge, row by row; ``missing``: labels whose text was not found;
    ``kept_back``: labels to train on whose document a corpus holds out, and which train nothing."""

    labels: list[Label]
    texts: list[str]
    missing: int
    kept_back: int = 0


def judged(labels: Sequence[Label], corpora: Sequence[Path], split: str) -> Judged:
    """The first ratings of a split, with their texts out of runs or JSON lines.

    Raises
    ------
    DocumentsError
        If no text is found.
    """
    wanted = [label for label in labels if label.split == split and label.rating == 1]
    texts = texts_of(corpora, frozenset(label.content_id for label in wanted))
    outside: set[bytes] = set()
    if split == "train":
        for path in corpora:
            outside |= held_out(path)
    found = [label for label in wanted if label.content_id in texts]
    used = [label for label in found if label.content_id not in outside]
    if not used:
        raise DocumentsError(
            f"found the text of none of {len(wanted)} labels ({split}) in "
            f"{', '.join(map(str, corpora))}; give the runs that hold them: each label's `from` "
            "says which recipe and source"
        )
    return Judged(
        used,
        [texts[label.content_id] for label in used],
        len(wanted) - len(found),
        len(found) - len(used),
    )
