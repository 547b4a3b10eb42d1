"""The linear student: its arithmetic, its file, its fit, and the one that is shipped."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from kernels.text import buffers_of, scan
from quality import reward
from quality.reward.labels import CATEGORIES, SCORES, load_labels
from quality.reward.scores_file import student_scorer
from quality.reward.student import SHIPPED, Student, StudentError, load_student
from quality.reward.student.fitting import Fit, fit_student
from quality.reward.student.model import LARGEST_BYTES, read_model, write_model
from quality.score import score as all_signals
from quality.signals import schema
from tests.quality.reward.made import DEEP, SHALLOW, corpus
from tests.quality.reward.plain_student import plain_points


@functools.cache
def fitted() -> Fit:
    labels, texts = corpus(120)
    signals = scan(*buffers_of(pa.array(texts)), None).signals
    return fit_student(labels, texts, signals, {"rubric": 1})


def student_of(path: Path) -> Student:
    path.write_bytes(write_model(fitted().model))
    return load_student(path)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=200), max_size=5))
def test_points_are_those_of_the_files_description(texts: list[str]) -> None:
    for model in (fitted().model, load_student().model):
        student = Student(model, "none")
        signals = scan(*buffers_of(pa.array(texts, pa.string())), None).signals
        found = student.points(pa.array(texts, pa.string()))
        for i, text in enumerate(texts):
            row = {name: signals[name][i] for name in model.signals}
            assert found[i].tolist() == plain_points(model, text, row)


def test_a_student_learns_what_separates_its_labels(tmp_path: Path) -> None:
    student = student_of(tmp_path / "student.zip")
    labels, texts = corpus(60, seed=1)
    found = student.score(pa.array(texts))
    assert found.schema.equals(schema("reward"))
    for name in SCORES:
        truth = [getattr(label, name) for label in labels]
        assert spearmanr(found[f"reward.{name}"].to_numpy(), truth).statistic > 0.8
    right = [
        a == label.category
        for a, label in zip(found["reward.category"].to_pylist(), labels, strict=True)
    ]
    assert np.mean(right) > 0.8
    deep, shallow = (" ".join(words * 6) for words in (DEEP, SHALLOW))
    scores = student.score(pa.array([deep, shallow]))["reward.depth"].to_pylist()
    assert scores[0] > 3.5
    assert scores[1] < 1.5


def test_cross_validation_tells_of_every_penalty() -> None:
    fit = fitted()
    best = max(
        fit.spearman, key=lambda p: fit.spearman[p]["depth"] + fit.spearman[p]["helpfulness"]
    )
    assert fit.penalty == best
    assert all(set(scores) == set(SCORES) for scores in fit.spearman.values())


def test_too_few_labels_are_refused() -> None:
    labels, texts = corpus(49)
    signals = scan(*buffers_of(pa.array(texts)), None).signals
    with pytest.raises(ValueError, match="found 49 with a text, expected 50 or more"):
        fit_student(labels, texts, signals, {})


def test_scores_lie_on_the_grid_and_in_their_range(tmp_path: Path) -> None:
    student = student_of(tmp_path / "student.zip")
    texts = [" ".join(DEEP * 200), " ".join(SHALLOW * 200), "", "\0", "日本語。" * 9000, "x" * 99]
    found = student.score(pa.array(texts))
    for name in SCORES:
        values = found[f"reward.{name}"].to_numpy()
        assert values.dtype == np.float32
        assert ((values >= 0) & (values <= 5)).all()
        assert (values * 64 == np.rint(values * 64)).all()
    assert set(found["reward.category"].to_pylist()) <= set(CATEGORIES)


def test_a_documents_score_does_not_depend_on_those_beside_it() -> None:
    _, texts = corpus(12, seed=3)
    student = load_student()
    together = student.score(pa.array(texts))
    apart = pa.concat_tables([student.score(pa.array([text])) for text in texts])
    assert together.equals(apart)
    chunks = pa.chunked_array([texts[:5], [], texts[5:]])
    assert student.score(chunks).equals(together)
    signals = scan(*buffers_of(pa.array(texts)), None).signals
    assert student.score(pa.array(texts), signals).equals(together)
    assert student.score(pa.array([], pa.string())).num_rows == 0


def test_nulls_are_refused_and_not_read_as_empty() -> None:
    with pytest.raises(ValueError, match="found 1 nulls, expected none"):
        load_student().score(pa.array(["a", None]))


def test_an_enormous_document_costs_no_more_memory_than_its_signals() -> None:
    text = "An explanation of how mechanisms work, with reasons. " * 100_000
    found = load_student().score(pa.array([text]))
    assert 0 <= found["reward.depth"][0].as_py() <= 5


def test_the_front_door_keeps_ids_and_order() -> None:
    table = pa.table(
        {"text": ["one", "two"], "doc_id": pa.array([b"a" * 16, b"b" * 16], pa.binary(16))}
    )
    found = reward.score(table)
    assert found.column_names == ["doc_id", *schema("reward").names]
    assert found["doc_id"].to_pylist() == [b"a" * 16, b"b" * 16]
    with pytest.raises(ValueError, match="found no column doc_id, expected doc_id and text"):
        reward.score(table.drop_columns("doc_id"))


def test_rewards_are_among_all_signals() -> None:
    found = all_signals(["A text.", "Another one."])
    assert found.column_names[-4:] == schema("reward").names
    assert found.select(schema("reward").names).equals(
        load_student().score(pa.array(["A text.", "Another one."]))
    )


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "student.zip"
    data = write_model(fitted().model)
    path.write_bytes(data)
    model, version = read_model(path)
    assert version == blake3(data).hexdigest(length=16)
    assert write_model(model) == data
    other = dataclasses.replace(model, intercepts=model.intercepts + 1)
    path.write_bytes(write_model(other))
    assert read_model(path)[1] != version


def _changed(path: Path, name: str, data: bytes) -> None:
    """Replace one member of a student's file."""
    with zipfile.ZipFile(io.BytesIO(write_model(fitted().model))) as whole:
        members = {entry: whole.read(entry) for entry in whole.namelist()}
    members[name] = data
    with zipfile.ZipFile(path, "w") as file:
        for entry, content in members.items():
            file.writestr(entry, content)


def _header(**changes: object) -> bytes:
    with zipfile.ZipFile(io.BytesIO(write_model(fitted().model))) as whole:
        header = json.loads(whole.read("student.json"))
    return json.dumps({**header, **changes}).encode()


def _array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("student.json", lambda: _header(format=2), r"found a student of format 2, expected 1"),
        ("student.json", lambda: _header(outputs=["depth"]), "found other scores and categories"),
        (
            "student.json",
            lambda: _header(signals=["text.beauty"] * len(fitted().model.signals)),
            "signals that this version does not measure: text.beauty",
        ),
        ("student.json", lambda: b"{", "found no student, or a damaged one"),
        (
            "word_weights.npy",
            lambda: _array(fitted().model.word_weights.astype(np.int16)),
            r"word_weights: found int16.* expected int8",
        ),
        ("bins.npy", lambda: _array(fitted().model.bins[1:]), "bins: found int32"),
        (
            "word_scales.npy",
            lambda: _array(fitted().model.word_scales * 0 + (1 << 30)),
            r"word_scales: found a multiplier of 2\^28 or more",
        ),
        (
            "edge_places.npy",
            lambda: _array(fitted().model.edge_places[::-1].copy()),
            "edge_places: found places",
        ),
        ("edges.npy", lambda: b"no array", "found no student, or a damaged one"),
    ],
)
def test_a_file_of_another_form_is_refused(
    tmp_path: Path, name: str, data: object, said: str
) -> None:
    path = tmp_path / "student.zip"
    _changed(path, name, data())  # type: ignore[operator]
    with pytest.raises(StudentError, match=said):
        load_student(path)


def test_a_missing_or_cut_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="found no readable file"):
        load_student(tmp_path / "none.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(write_model(fitted().model)[:5000])
    with pytest.raises(StudentError, match="found no student, or a damaged one"):
        load_student(cut)


def test_the_shipped_student_is_of_the_shipped_labels_and_small() -> None:
    student = load_student()
    assert SHIPPED.stat().st_size <= LARGEST_BYTES
    labels = Path(reward.__file__).with_name("labels-1.jsonl")
    assert student.model.about["labels"] == blake3(labels.read_bytes()).hexdigest()
    assert student.model.about["rubric"] == load_labels()[0].rubric
    card = SHIPPED.with_suffix(".md").read_text("utf-8")
    assert f"`{student_scorer('linear', student.version)}`" in card


def test_the_shipped_student_scores_alike_on_every_machine() -> None:
    # Whole numbers as they were when it was made: other ones are a change of arithmetic.
    texts = [
        "The Fourier transform turns a convolution into a product, because exponentials are the "
        "eigenfunctions of every operator that commutes with translation.\n\nA proof follows.",
        "Click here to subscribe to our newsletter! Home | Shop | Login | Cookies",
        "def add(a, b):\n    return a + b\n",
        "日本語の文書を読むための説明です。まず、設定を開いてください。",
    ]
    found = load_student().points(pa.array(texts))
    assert blake3(found.astype("<i8").tobytes()).hexdigest(length=16) == POINTS


POINTS = "01987c69e41a2bc0190cdf4c43158fc9"
