"""What a labelling run leaves behind, besides the raw answers.

``labels.jsonl`` in the form of the shipped labels, ``failures.jsonl`` with each document that has
no label and why, ``scores.parquet`` for a build to read, and ``labeler.json``, which says who
labelled and keeps another labeler out of the folder. The same answers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from quality.reward.labeler.documents import About
from quality.reward.labeler.errors import LabelingRefused
from quality.reward.labeler.obedience import Pair
from quality.reward.labeler.ratings import Rating
from quality.reward.labeler.rubric import RUBRIC
from quality.reward.labels import HIGHEST, SCORES, SECONDARY
from quality.reward.scores_file import SCHEMA, write_scores
from quality.reward.student.model import GRID_BITS

LABELER, LABELS, FAILURES, SCORED, ORDERED = (
    "labeler.json", "labels.jsonl", "failures.jsonl", "scores.parquet", "ordered.jsonl"
)  # fmt: skip


def claim(folder: Path, about: Mapping[str, Any]) -> None:
    """Have a folder hold the labels of one labeler alone.

    Parameters
    ----------
    about : all that decides a label besides the document

    Raises
    ------
    LabelingRefused
        If it is another labeler's.
    """
    path = folder / LABELER
    if path.exists():
        try:
            found = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise LabelingRefused(
                f"{path}: found no JSON ({error}), expected what an earlier run wrote; choose "
                "another --out"
            ) from error
        if found != about:
            names = sorted(n for n in {*found, *about} if found.get(n) != about.get(n))
            had, asked = (
                ", ".join(f"{name} {one.get(name)!r}" for name in names) for one in (found, about)
            )
            raise LabelingRefused(
                f"{path}: found labels by another labeler ({had}), expected one by {asked}; choose "
                "another --out"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _replace(path, [about], orjson.OPT_SORT_KEYS)


def write_outputs(
    folder: Path, ratings: Sequence[Rating], rater: str, scorer: str
) -> dict[str, Path]:
    """Write all three files, each whole or not at all; their paths."""
    paths = {name: folder / name for name in (LABELS, FAILURES, SCORED)}
    _replace(paths[LABELS], (_label(rating, rater) for rating in ratings if rating.scores))
    _replace(paths[FAILURES], (_failure(rating) for rating in ratings if not rating.scores))
    unfinished = folder / f"{SCORED}.unfinished"
    write_scores(unfinished, [_scores(ratings)], scorer)
    unfinished.replace(paths[SCORED])
    return paths


def write_ordered(folder: Path, pairs: Iterable[Pair]) -> Path:
    """Write what orders in front of documents did to their scores; its path."""
    _replace(folder / ORDERED, (pair.row() for pair in pairs))
    return folder / ORDERED


def _label(rating: Rating, rater: str) -> dict[str, Any]:
    scores = rating.scores
    assert scores is not None, "the caller looked"
    row = {
        **_place(rating.about),
        "language": rating.about.language,
        "characters": rating.about.characters,
        "rater": rater,
        "rubric": RUBRIC,
        "rating": 1,
        "split": rating.about.split,
        **{name: _whole(getattr(scores, name)) for name in SCORES},
    }
    for name in SECONDARY:
        if (value := getattr(scores, name)) is not None:
            row[name] = value
    return {**row, "category": scores.category, "reason": scores.reason}


def _failure(rating: Rating) -> dict[str, Any]:
    return {**_place(rating.about), "why": rating.why, "detail": rating.detail}


def _place(about: About) -> dict[str, Any]:
    return {
        "content_id": about.content_id.hex(),
        "from": about.origin,
        "uri": about.uri,
        "offset": about.offset,
    }


def _scores(ratings: Iterable[Rating]) -> pa.Table:
    rows = []
    for rating in ratings:
        if rating.scores is not None:
            row = {f"reward.{name}": _on_grid(getattr(rating.scores, name)) for name in SCORES}
            category = {"reward.category": rating.scores.category}
            rows.append({"content_id": rating.about.content_id, **row, **category})
    return pa.Table.from_pylist(rows, SCHEMA)


def _whole(points: float) -> int:
    """The nearest whole number, halves up."""
    return min(HIGHEST, int(points + 0.5))


def _on_grid(points: float) -> float:
    """The nearest multiple of 1/64, which a float32 holds."""
    return round(points * (1 << GRID_BITS)) / (1 << GRID_BITS)


def _replace(path: Path, rows: Iterable[Mapping[str, Any]], options: int = 0) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=options) + b"\n")
    unfinished.replace(path)
