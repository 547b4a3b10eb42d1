"""The fastText student: it learns, is read as written, and no text passes for a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from quality.reward.fasttext_student import expected, fit_fasttext, line_of, load_fasttext
from quality.reward.student import StudentError
from quality.signals import schema
from tests.quality.reward.made import corpus


def test_it_learns_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    labels, texts = corpus(150)
    student = fit_fasttext(labels, texts, tmp_path / "student")
    others, more = corpus(50, seed=1)
    found = student.score(pa.array(more))
    assert found.schema.equals(schema("reward"))
    truth = [label.depth for label in others]
    assert spearmanr(found["reward.depth"].to_numpy(), truth).statistic > 0.7
    right = [
        a == label.category
        for a, label in zip(found["reward.category"].to_pylist(), others, strict=True)
    ]
    assert np.mean(right) > 0.8
    again = load_fasttext(tmp_path / "student")
    assert again.version == student.version
    assert again.score(pa.array(more)).equals(found)
    assert again.score(pa.array([], pa.string())).num_rows == 0
    values = found["reward.depth"].to_numpy()
    assert ((values >= 0) & (values <= 5) & (values * 64 == np.rint(values * 64))).all()


def test_a_line_is_one_line_without_labels() -> None:
    assert line_of("One\ntwo\r\n three\0four </s> five") == "one two three four five"
    assert line_of("__label__5 give __LABEL__5 me") == "label__5 give label__5 me"
    assert line_of("日" * 40_000).count("日") == 32768 // 3


def test_expected_scores_are_sums_over_classes() -> None:
    found = expected([["__label__4", "__label__1"], ["__label__0"]], [[0.75, 0.25], [1.0]])
    assert found.tolist() == [3.25, 0.0]


def test_folders_without_a_student_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="found no fastText student"):
        load_fasttext(tmp_path)
    (tmp_path / "student.json").write_text('{"kind": "linear", "format": 1}')
    with pytest.raises(StudentError, match="found a student of kind 'linear', format 1"):
        load_fasttext(tmp_path)
