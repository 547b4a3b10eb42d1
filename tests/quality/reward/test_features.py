"""What a student is fitted on is what it scores by."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from kernels.text import buffers_of, gram_sums_reference, scan
from quality.reward.labels import SCORES
from quality.reward.student import Student
from quality.reward.student.features import Bins, gram_rows
from quality.reward.student.fitting import BITS
from quality.signals import schema
from tests.quality.reward.made import corpus
from tests.quality.reward.test_student import fitted


def test_rows_are_roots_of_counts_of_length_one() -> None:
    texts = ["a b a a", "", "b"]
    rows = gram_rows(texts, 8, words=True).toarray()
    bucket = gram_sums_reference.word_buckets("a", 8)[0]
    assert rows[0, bucket] == np.sqrt(3 / 4)
    assert np.allclose((rows**2).sum(axis=1), [1, 0, 1])


def test_edges_part_the_documents_and_steps_add_up() -> None:
    values = {"x": np.array([1, 1, 1, 2, 3, 4]), "y": np.zeros(6)}
    bins = Bins.at_quantiles(values, ["x", "y"], 3)
    assert np.allclose(bins.edges["x"], [1, 7 / 3])
    steps = bins.steps(values).toarray()
    assert steps[:, :2].sum(axis=1).tolist() == [1, 1, 1, 1, 2, 2]
    # A signal that never varies is above its only edge everywhere: a constant.
    assert steps[:, 2:].tolist() == [[1.0]] * 6


def test_whole_numbers_lose_little_of_the_fit() -> None:
    # The same sums out of floating-point rows and the file's own weights.
    labels, texts = corpus(40, seed=9)
    signals = scan(*buffers_of(pa.array(texts)), None).signals
    model = fitted().model
    scores = len(SCORES)
    words = gram_rows(texts, BITS, words=True) @ (
        model.word_weights[:, :scores] * (model.word_scales[:scores] / 2.0**28)
    )
    grams = gram_rows(texts, BITS, words=False) @ (
        model.gram_weights * (model.gram_scales / 2.0**28)
    )
    rest = Student(
        dataclasses.replace(
            model,
            word_weights=np.zeros_like(model.word_weights),
            gram_weights=np.zeros_like(model.gram_weights),
        ),
        "",
    ).points(pa.array(texts), signals)[:, :scores]
    whole = Student(model, "").points(pa.array(texts), signals)[:, :scores]
    assert model.signals == tuple(schema("scan").names)
    assert np.abs(whole / 2.0**16 - (words + grams + rest / 2.0**16)).max() < 0.01
    assert len(labels) == 40
