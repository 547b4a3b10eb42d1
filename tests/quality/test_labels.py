"""The labels: complete, by the rubric, and a loader that tells what is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from quality.reward.labels import CATEGORIES, LABELS, SCORES, LabelError, agreement, load_labels


def test_the_labels_are_many_varied_and_held_out_in_part() -> None:
    labels = load_labels()
    first = {label.content_id: label for label in labels if label.rating == 1}
    again = [label for label in labels if label.rating == 2]
    assert len(first) >= 1500
    assert sum(label.split == "heldout" for label in first.values()) >= 300
    assert len(again) >= 200
    for label in again:
        other = first[label.content_id]
        assert other.rater != label.rater
        assert other.split == label.split
    for name in SCORES:
        assert set(Counter(getattr(label, name) for label in first.values())) == set(range(6))
    assert {label.category for label in first.values()} == set(CATEGORIES)
    assert len({label.origin for label in first.values()}) >= 20
    assert len({label.reason for label in first.values()}) > 0.95 * len(first)


def test_the_rubric_names_every_category() -> None:
    rubric = LABELS.with_name("rubric-1.md").read_text()
    assert all(f"`{name}`" in rubric for name in CATEGORIES)


def test_raters_agree_far_above_chance() -> None:
    found = agreement(load_labels())
    assert found.documents >= 200
    assert all(value > 0.5 for value in found.spearman.values())
    assert found.category > 0.5


def test_agreement_of_a_known_case(tmp_path: Path) -> None:
    rows = [orjson.loads(line) for line in LABELS.read_bytes().splitlines()[:4]]
    pairs = []
    for number, row in enumerate(rows):
        one = {
            **row,
            "rating": 1,
            "rater": "x",
            "depth": number,
            "category": CATEGORIES[number % 2],
        }
        pairs += [one, {**one, "rating": 2, "rater": "y", "depth": number + (number == 3)}]
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in pairs))
    found = agreement(load_labels(path))
    assert found.documents == 4
    assert found.spearman["depth"] == pytest.approx(1)
    assert (found.exact["depth"], found.within_one["depth"]) == (0.75, 1.0)
    assert found.category == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth": 6}, "depth: found 6, expected 0 to 5"),
        ({"depth": 2.5}, "depth: found 2.5"),
        ({"category": "sports"}, "category: found 'sports'"),
        ({"reason": " "}, "reason: found none"),
        ({"split": "test"}, "split: found 'test'"),
        ({"content_id": "xy"}, "expected the fields of a label"),
    ],
)
def test_a_row_that_is_no_judgement_is_told(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    row = orjson.loads(LABELS.read_bytes().splitlines()[0])
    path = tmp_path / "labels.jsonl"
    path.write_bytes(orjson.dumps({**row, **change}))
    with pytest.raises(LabelError, match=f"line 1: .*{words}"):
        load_labels(path)


def test_a_rater_judges_a_document_once(tmp_path: Path) -> None:
    line = LABELS.read_bytes().splitlines()[0]
    path = tmp_path / "labels.jsonl"
    path.write_bytes(line + b"\n" + line)
    with pytest.raises(LabelError, match=r"line 2: found a second judgement"):
        load_labels(path)
