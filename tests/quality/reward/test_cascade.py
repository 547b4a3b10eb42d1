"""The cascade: what its network reads, learns and may say, and its file."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from kernels.text import gram_sums_reference
from quality.__main__ import main
from quality.reward.cascade import training
from quality.reward.cascade.network import LENGTH, PADDING, PARTS, Network, Shape, words_of
from quality.reward.cascade.scoring import Cascade, Middle, load_cascade, write_cascade
from quality.reward.cascade.training import Trained, corrections_of, train
from quality.reward.labels import SCORES
from quality.reward.scores_file import read_scores
from quality.reward.student import Student, StudentError
from quality.reward.students import open_student
from tests.quality.reward.made import corpus
from tests.quality.reward.test_student import fitted

SMALL = Shape(bits=8, width=16, layers=1, heads=2, dropout=0.0)


def test_words_are_those_of_beginning_middle_and_end() -> None:
    short = " ".join(f"w{i}" for i in range(40))
    long = " ".join(f"w{i}" for i in range(1000))
    found = words_of(pa.array([short, long, ""]), 15)
    assert found.shape == (3, LENGTH)
    hashed = [bucket + 1 for bucket in gram_sums_reference.word_buckets(long, 15)]
    assert found[0].tolist() == hashed[:40] + [PADDING] * (LENGTH - 40)
    first, middle, last = PARTS
    start = first + (1000 - LENGTH) // 2
    expected = hashed[:first] + hashed[start : start + middle] + hashed[-last:]
    assert found[1].tolist() == expected
    assert found[2].tolist() == [PADDING] * LENGTH


def _errors(documents: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents of random words, linear scores, and labels that a word of its own sets off."""
    random = np.random.default_rng(seed)
    words = random.integers(2, 200, (documents, LENGTH))
    lengths = random.integers(5, 30, documents)
    words[np.arange(LENGTH)[None] >= lengths[:, None]] = PADDING
    told = random.random(documents) < 0.5
    words[told, :4] = 1
    scores = random.uniform(1, 4, (documents, len(SCORES)))
    labels = scores + np.where(told, 0.7, -0.7)[:, None]
    return words.astype(np.int64), scores, labels


@functools.cache
def _trained() -> Trained:
    words, scores, labels = _errors()
    with pytest.MonkeyPatch.context() as patch:
        # So small a network learns in a few rounds what it is shown, at a rate that it can take.
        patch.setattr(training, "RATE", 3e-3)
        return train(words, scores, labels, np.arange(len(words)), SMALL, epochs=8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_network_learns_what_the_linear_student_cannot_see() -> None:
    found = _trained()
    assert (found.trust > 0.6).all()
    words, scores, labels = _errors(100, seed=1)
    better = scores + found.trust * corrections_of(found.network, words, scores)
    assert np.abs(better - labels).mean() < 0.3 * np.abs(scores - labels).mean()


def test_a_network_that_has_learnt_nothing_is_not_believed() -> None:
    words, scores, _ = _errors()
    noise = scores + np.random.default_rng(3).normal(size=scores.shape)
    found = train(words, scores, noise, np.arange(len(words)), SMALL, epochs=3)
    # What 95 % confidence lets through by chance may be there, and not in all three scores.
    assert (found.trust >= 0).all()
    assert found.trust.min() == 0


def test_training_again_gives_the_same_network() -> None:
    words, scores, labels = _errors(60)
    one, other = (train(words, scores, labels, np.arange(60), SMALL, epochs=1) for _ in range(2))
    torch.rand(5)
    for name, values in one.network.state_dict().items():
        assert torch.equal(values, other.network.state_dict()[name])


def test_corrections_do_not_depend_on_the_batch() -> None:
    words, scores, _ = _errors(50, seed=2)
    network = _trained().network
    together = corrections_of(network, words, scores, batch=50)
    apart = corrections_of(network, words, scores, batch=1)
    assert np.abs(together - apart).max() < 1e-5
    assert corrections_of(network, words[:0], scores[:0]).shape == (0, len(SCORES))


def test_a_document_without_words_has_a_number() -> None:
    empty = np.full((2, LENGTH), PADDING, np.int64)
    found = corrections_of(_trained().network, empty, np.ones((2, len(SCORES))))
    assert np.isfinite(found).all()


def _cascade(path: Path, low: float, high: float) -> Cascade:
    network = Network(SMALL)
    with torch.no_grad():
        network.head.bias.fill_(0.5)
    student = Student(fitted().model, "made")
    path.write_bytes(write_cascade(student, network, np.array([1.0, 0.5, 0]), Middle(low, high)))
    return load_cascade(path)


def test_only_the_middle_is_corrected(tmp_path: Path) -> None:
    cascade = _cascade(tmp_path / "cascade.zip", 3, 6)
    _, texts = corpus(60, seed=5)
    linear = Student(fitted().model, "made").score(pa.array(texts))
    found = cascade.score(pa.array(texts))
    assert found.schema.equals(linear.schema)
    total = linear["reward.depth"].to_numpy() + linear["reward.helpfulness"].to_numpy()
    # Those at the very edges may fall on either side of it, by their rounding.
    inside, outside = (total > 3.1) & (total < 5.9), (total < 2.9) | (total > 6.1)
    assert inside.any()
    assert outside.any()
    gaps = [
        found[f"reward.{name}"].to_numpy() - linear[f"reward.{name}"].to_numpy() for name in SCORES
    ]
    for gap, expected in zip(gaps, (0.5, 0.25, 0), strict=True):
        assert (gap[outside] == 0).all()
        assert np.allclose(gap[inside], expected, atol=1 / 64)
    for name in SCORES:
        values = found[f"reward.{name}"].to_numpy()
        assert values.dtype == np.float32
        assert (values * 64 == np.rint(values * 64)).all()
    assert found["reward.category"].equals(linear["reward.category"])
    apart = pa.concat_tables([cascade.score(pa.array([text])) for text in texts])
    assert apart.equals(found)
    assert cascade.score(pa.chunked_array([texts[:9], texts[9:]])).equals(found)


def test_the_middle_is_the_share_asked_for() -> None:
    scores = np.random.default_rng(0).uniform(0, 5, (1000, 3))
    middle = Middle.of(scores, 0.3)
    total = scores[:, 0] + scores[:, 1]
    assert np.mean((total >= middle.low) & (total <= middle.high)) == pytest.approx(0.3, abs=0.01)
    with pytest.raises(ValueError, match="found a share of 0, expected above 0"):
        Middle.of(scores, 0)


def test_kinds_are_told_apart_by_their_files(tmp_path: Path) -> None:
    _cascade(tmp_path / "cascade.zip", 3, 6)
    assert open_student(tmp_path / "cascade.zip")[0] == "cascade"
    assert open_student(None)[0] == "linear"
    if not torch.cuda.is_available():
        with pytest.raises(StudentError, match="found no CUDA GPU for 'cuda', expected one, or"):
            open_student(tmp_path / "cascade.zip", "cuda")
    with pytest.raises(StudentError, match="found no readable file"):
        open_student(tmp_path / "none.zip")


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cascade.zip"
    _cascade(path, 3, 6)
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}

    def changed(name: str, content: bytes | None) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for entry, old in members.items():
                if entry != name:
                    file.writestr(entry, old)
                elif content is not None:
                    file.writestr(entry, content)

    header = json.loads(members["cascade.json"])
    changed("cascade.json", json.dumps({**header, "format": 9}).encode())
    with pytest.raises(StudentError, match="found a cascade of format 9, expected 1"):
        load_cascade(path)
    changed(
        "cascade.json", json.dumps({**header, "shape": {**header["shape"], "bits": 9}}).encode()
    )
    with pytest.raises(StudentError, match="found no cascade, or a damaged one"):
        load_cascade(path)
    changed("network/places.npy", None)
    with pytest.raises(StudentError, match="found no cascade, or a damaged one"):
        load_cascade(path)
    changed("student.zip", b"none")
    with pytest.raises(StudentError, match=r"student.zip: found no student, or a damaged one"):
        load_cascade(path)


def test_labels_to_cascade_to_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quality.reward.cascade.distill.Shape", lambda: SMALL)
    monkeypatch.setattr("quality.reward.cascade.training.EPOCHS", 1)
    labels, texts = corpus(60, seed=6)
    named, documents = tmp_path / "labels.jsonl", tmp_path / "texts.jsonl"
    rows = [{**x.__dict__, "from": x.origin, "content_id": x.content_id.hex()} for x in labels]
    named.write_text(
        "".join(
            json.dumps({k: v for k, v in r.items() if k != "origin" and v is not None}) + "\n"
            for r in rows
        )
    )
    documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    out, scores = tmp_path / "cascade.zip", tmp_path / "scores.parquet"
    command = ["distill", str(documents), "--labels", str(named), "--out", str(out), "--json"]
    assert main([*command, "--kind", "cascade", "--middle", "0.5"]) == 0
    assert set(json.loads(capsys.readouterr().out)["trust"]) == set(SCORES)
    command = ["score", str(documents), "--student", str(out), "--out", str(scores)]
    assert main(command) == 0
    version = load_cascade(out).version
    assert read_scores(scores)[1] == f"cascade student {version}"
