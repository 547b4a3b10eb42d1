"""An evaluation finds what is there, and the card says it."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest

from quality.__main__ import main
from quality.reward.evaluation.card import as_json, card
from quality.reward.evaluation.evaluate import (
    FASTTEXT,
    LENGTH,
    STUDENT,
    Evaluation,
    by_length,
    evaluate,
)
from quality.reward.evaluation.votes import Vote, VotesError, read_votes
from quality.reward.labels import SCORES, Agreement
from quality.reward.scores_file import read_scores
from quality.reward.student import Student
from tests.quality.reward.made import DEEP, SHALLOW, corpus
from tests.quality.reward.test_student import fitted

CEILING = Agreement(9, dict.fromkeys(SCORES, 0.9), {}, {}, 0.9)


@dataclass(frozen=True)
class _Order:
    text: str
    at_most: int


def _noise(texts: Sequence[str]) -> dict[str, np.ndarray]:
    return dict.fromkeys(SCORES, np.random.default_rng(len(texts)).random(len(texts)))


@functools.cache
def _evaluated(votes: bool = True) -> Evaluation:
    labels, texts = corpus(90, seed=4)
    # As many deep words as shallow ones: their length tells nothing.
    said = [
        Vote(" ".join((DEEP if i % 3 else SHALLOW)[:7] * (2 + i % 5)), bool(i % 3))
        for i in range(60)
    ]
    return evaluate(
        labels,
        texts,
        Student(fitted().model, "made").score,
        {LENGTH: by_length, FASTTEXT: _noise},
        CEILING,
        said if votes else (),
        [_Order(" ".join(DEEP * 3), 1), _Order(" ".join(SHALLOW * 3), 1)],
        draws=200,
    )


def test_a_student_that_knows_beats_those_that_do_not() -> None:
    found = _evaluated()
    assert found.documents == 90
    for score in ("depth", "helpfulness"):
        assert found.spearman[score][STUDENT].value > 0.8
        assert abs(found.spearman[score][FASTTEXT].value) < 0.3
        assert found.partial[score][STUDENT].value > 0.7
        assert LENGTH not in found.partial[score]
        for baseline in (LENGTH, FASTTEXT):
            lead = found.ahead[score][baseline]
            expected = found.spearman[score][STUDENT].value - found.spearman[score][baseline].value
            assert lead.value == pytest.approx(expected)
            assert lead.excludes(0)
    assert found.auc is not None
    assert found.auc[STUDENT].value == 1
    assert found.leads


def test_a_student_leads_no_one_without_peoples_votes() -> None:
    found = _evaluated(votes=False)
    assert found.auc is None
    assert not found.leads
    assert "stay `unscored`" in card(found, Student(fitted().model, "made"))


def test_a_baseline_that_is_the_student_is_not_beaten() -> None:
    labels, texts = corpus(60, seed=4)
    student = Student(fitted().model, "made")

    def same(some: Sequence[str]) -> dict[str, np.ndarray]:
        table = student.score(pa.array(some))
        return {name: table[f"reward.{name}"].to_numpy().astype(float) for name in SCORES}

    votes = [Vote(text, i % 2 == 0) for i, text in enumerate(texts)]
    found = evaluate(
        labels, texts, student.score, {LENGTH: by_length, FASTTEXT: same}, CEILING, votes, draws=200
    )
    assert found.ahead["depth"][FASTTEXT].value == 0
    assert not found.leads
    assert found.injections is None


def test_bias_and_calibration_add_up() -> None:
    found = _evaluated()
    labels, texts = corpus(90, seed=4)
    scores = Student(fitted().model, "made").score(pa.array(texts))["reward.depth"].to_numpy()
    gap = float((scores - [label.depth for label in labels]).mean())
    (language,) = found.bias["language"]["depth"]
    assert (language.group, language.documents) == ("en", 90)
    assert language.difference.value == pytest.approx(gap)
    rows = found.reliability["depth"]
    assert sum(row.documents for row in rows) == 90
    assert all(row.low <= row.score <= row.high for row in rows)
    assert sum(n for _, n in found.recall.values()) == 90
    share = sum(share * n for share, n in found.recall.values()) / 90
    assert share == pytest.approx(found.category)


def test_injected_orders_are_counted() -> None:
    found = _evaluated().injections
    assert found is not None
    # The first is praised by its words alone, the second is not.
    assert (found.documents, found.above) == (2, 1)
    assert found.moved_most > 0


def test_the_card_has_every_figure() -> None:
    found = _evaluated()
    student = Student(fitted().model, "made")
    text = card(found, student)
    assert "$" not in text
    assert "Scores name it `linear student made`" in text
    assert str(found.spearman["depth"][STUDENT]) in text
    assert str(found.auc_ahead and found.auc_ahead[LENGTH]) in text
    assert "beats both baselines" in text
    assert orjson.loads(orjson.dumps(as_json(found, "made")))["leads"] is True


def _lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def test_labels_to_student_to_scores_to_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quality.reward.commands.DRAWS", 200)
    labels, texts = corpus(110, seed=6)
    held, more = corpus(40, seed=7)
    rows = []
    for label in [*labels, *held]:
        row = {**label.__dict__, "from": label.origin, "content_id": label.content_id.hex()}
        row["split"] = "heldout" if label in held else "train"
        del row["origin"]
        rows.append(row)
    again = [{**row, "rater": "b", "rating": 2} for row in rows[:30]]
    named = _lines(tmp_path / "labels.jsonl", [*rows, *again])
    documents = _lines(tmp_path / "texts.jsonl", [{"text": t} for t in [*texts, *more]])
    votes = tmp_path / "votes.jsonl.gz"
    votes.write_bytes(
        gzip.compress(
            b"".join(
                orjson.dumps({"text": " ".join(DEEP if i % 2 else SHALLOW), "label": i % 2}) + b"\n"
                for i in range(20)
            )
        )
    )
    student = tmp_path / "student.zip"
    base = [str(documents), "--labels", str(named), "--json"]
    assert main(["distill", *base, "--out", str(student)]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert (told["documents"], told["labels_without_text"]) == (110, 0)
    scores = tmp_path / "scores.parquet"
    command = ["score", str(documents), "--out", str(scores), "--student", str(student), "--json"]
    assert main(command) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["contents"] == 150
    scorer = read_scores(scores)[1]
    assert told["scorer"] == scorer
    written = tmp_path / "card.md"
    command = ["evaluate", *base, "--student", str(student), "--votes", str(votes)]
    assert main([*command, "--card", str(written)]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["documents"] == 40
    assert told["spearman"]["depth"]["student"]["value"] > 0.8
    assert told["injections"]["documents"] > 50
    assert told["scorer"] == scorer
    assert f"Scores name it `{scorer}`" in written.read_text()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b'{"text": "a", "label": 1}\nno', "line 2: found JSONDecodeError"),
        (b'{"text": "a"}', "line 1: found KeyError"),
        (b'{"text": "a", "label": 2}', "line 1: found the label 2, expected a text and 0 or 1"),
        (b'{"text": "a", "label": 1}', "found votes of one kind"),
    ],
)
def test_files_without_votes_are_refused(tmp_path: Path, lines: bytes, said: str) -> None:
    (tmp_path / "votes.jsonl").write_bytes(lines)
    with pytest.raises(VotesError, match=said):
        read_votes(tmp_path / "votes.jsonl")


def test_commands_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("distill", "evaluate", "score"):
        command = [name, str(tmp_path / "none"), "--out", str(tmp_path / "s.zip")]
        command = command[:2] if name == "evaluate" else command
        assert main(command) == 1
        assert "found no such file or folder" in capsys.readouterr().err
        assert main([*command, "--json"]) == 1
        told = orjson.loads(capsys.readouterr().out)
        assert told["ok"] is False
        assert "found no such file or folder" in told["error"]
    texts = _lines(tmp_path / "a.jsonl", [{"text": "x"}])
    (tmp_path / "s.zip").write_bytes(b"none")
    command = [
        "score",
        str(texts),
        "--out",
        str(tmp_path / "o"),
        "--student",
        str(tmp_path / "s.zip"),
    ]
    assert main(command) == 1
    assert "found no student, or a damaged one" in capsys.readouterr().err
