"""Documents judged by likelihoods, with a process whose likelihoods are known."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from quality.endpoint.ask import Tally
from quality.reward.labeler.calibration import expected_score
from quality.reward.labeler.checkpoint import LIKELIHOODS, CheckpointLabeler
from quality.reward.labeler.errors import LabelerFailed
from quality.reward.labeler.excerpts import excerpt
from quality.reward.labeler.outputs import write_outputs
from quality.reward.labeler.process import run_likelihood
from quality.reward.labeler.prompts import DIMENSIONS, NAMES, NOTHING, POINTS, ask_of
from quality.reward.labeler.ratings import Rating
from quality.reward.labels import CATEGORIES, SCORES, load_labels
from quality.reward.scores_file import read_scores
from tests.quality.reward.labeler import fake_trainer
from tests.quality.reward.labeler.answering import document, rows

FAKE = (sys.executable, fake_trainer.__file__)
TEXTS = ["4 44 444 plain", "0 0 00 000", "", "5" * 900, "nothing here", "5 0 5 0 2"]


def label(
    folder: Path, texts: Sequence[str], *options: str, characters: int = 600, model: str = "one"
) -> tuple[list[Rating], CheckpointLabeler]:
    labeler = CheckpointLabeler(folder, Path(model), characters, options, FAKE)
    ratings = labeler.label([document(text) for text in texts])
    write_outputs(folder, ratings, labeler.rater, labeler.scorer)
    return ratings, labeler


def test_scores_are_the_calibrated_means_of_the_likelihoods(tmp_path: Path) -> None:
    ratings, labeler = label(tmp_path, TEXTS)
    for text, rating in zip(TEXTS, ratings, strict=True):
        if not text:
            assert (rating.scores, rating.why) == (None, "empty")
            continue
        assert rating.scores is not None
        # By hand: the rule adds 0.5 nats for each time that a digit is shown.
        shown = "".join(part.text for part in excerpt(text, 600))
        weights = [math.exp(0.5 * shown.count(str(k))) for k in range(6)]
        wanted = sum(k * w for k, w in enumerate(weights)) / sum(weights)
        assert [getattr(rating.scores, name) for name in SCORES] == pytest.approx([wanted] * 3)
        gains = [shown.count(name[0]) / len(name) for name in CATEGORIES]
        assert rating.scores.category == CATEGORIES[gains.index(max(gains))]
    assert labeler.tally is not None
    assert (labeler.tally.asked, labeler.tally.kept) == (6 * 4, 0)
    assert labeler.rater.startswith("fake text_8k step 7 ")
    assert not (tmp_path / "requests.unfinished").exists()


def test_prompts_show_a_section_the_document_and_what_to_answer() -> None:
    for dimension in DIMENSIONS:
        asked = ask_of(dimension, excerpt("The heron waits.", 100), 16)
        assert asked.context.startswith(f"## {dimension}")
        assert "\nThe heron waits.\n" in asked.context
        assert asked.context.endswith(":")
        assert asked.continuations == (NAMES if dimension == "category" else POINTS)
        nothing = ask_of(dimension, NOTHING, 0)
        assert nothing.continuations == asked.continuations
        assert nothing.key != asked.key
    assert len(NAMES) == len(CATEGORIES)


def test_labels_and_scores_are_files_that_others_read(tmp_path: Path) -> None:
    ratings, labeler = label(tmp_path, TEXTS)
    labels = load_labels(tmp_path / "labels.jsonl")
    assert [one.content_id for one in labels] == [r.about.content_id for r in ratings if r.scores]
    for one, rating in zip(labels, (r for r in ratings if r.scores), strict=True):
        assert rating.scores is not None
        assert abs(one.depth - rating.scores.depth) <= 0.5
        assert f"depth {rating.scores.depth:.2f}" in one.reason
    scores, scorer = read_scores(tmp_path / "scores.parquet")
    assert scorer == labeler.scorer
    assert scores.num_rows == len(labels)
    raw = {r.about.content_id: r.scores for r in ratings if r.scores}
    for row in scores.to_pylist():
        assert row["reward.depth"] == pytest.approx(raw[row["content_id"]].depth, abs=1 / 128)


def test_excerpts_that_the_model_does_not_read_are_shortened(tmp_path: Path) -> None:
    rubric = max(len(ask_of(name, NOTHING, 0).context) for name in DIMENSIONS)
    texts = ["0" * 3000, "5" * 200, "4" * 6000]
    ratings, _ = label(tmp_path, texts, "--longest", str(rubric + 900), characters=5000)
    assert all(rating.scores is not None for rating in ratings)
    raw = rows(tmp_path / LIKELIHOODS)[1:]
    assert sum("refused" in row for row in raw) >= 2
    # The short one was asked once a dimension, and not again with the others.
    name = document(texts[1]).about.content_id.hex()
    assert sum(row["id"].startswith(name) for row in raw) == len(DIMENSIONS)
    longest = max(row["tokens"] for row in raw if "log_probabilities" in row)
    assert rubric + 300 < longest <= rubric + 900
    before = (tmp_path / LIKELIHOODS).read_bytes()
    again, labeler = label(tmp_path, texts, "--longest", str(rubric + 900), characters=5000)
    assert again == ratings
    assert labeler.tally is not None
    assert labeler.tally.asked == 0
    assert (tmp_path / LIKELIHOODS).read_bytes() == before


def test_a_model_that_reads_too_little_is_refused_or_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabelerFailed, match="does not read what the rubric says of depth"):
        label(tmp_path / "a", TEXTS, "--longest", "200")
    rubric = max(len(ask_of(name, NOTHING, 0).context) for name in DIMENSIONS)
    ratings, _ = label(tmp_path / "b", ["x" * 500, "y"], "--longest", str(rubric + 20))
    assert [rating.why for rating in ratings] == ["too-long", None]
    assert "beside the rubric" in ratings[0].detail


def test_a_killed_process_is_told_and_the_next_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(LabelerFailed, match=r"found exit code -9, expected 0"):
        label(tmp_path / "a", TEXTS, "--step", "14")
    assert (tmp_path / "a" / LIKELIHOODS).read_bytes().endswith(b'{"id": "half')
    _, labeler = label(tmp_path / "a", TEXTS)
    assert labeler.tally is not None
    assert (labeler.tally.asked, labeler.tally.kept) == (6 * 4 - 5, 5)
    label(tmp_path / "b", TEXTS)
    for name in ("labels.jsonl", "failures.jsonl", "scores.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_the_trainer_says_is_said_on(tmp_path: Path) -> None:
    with pytest.raises(LabelerFailed, match="likelihood: runs/none: found neither checkpoints/"):
        label(tmp_path, TEXTS, "--step", "13")


def test_a_damaged_answer_is_named(tmp_path: Path) -> None:
    label(tmp_path, TEXTS)
    path = tmp_path / LIKELIHOODS
    lines = path.read_text().splitlines()
    lines[3] = json.dumps({"id": "x", "tokens": "many"})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(LabelerFailed, match=r"likelihoods\.jsonl: line 4: found"):
        label(tmp_path, TEXTS)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[Tally] = []
    labeler = CheckpointLabeler(tmp_path, Path("one"), 600, (), FAKE, told.append)
    labeler.label([document(text) for text in TEXTS])
    assert told[-1].done == 6 * 4
    assert all(0 <= one.done <= 24 for one in told)


def test_an_interrupted_labeler_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("")

    def interrupted(_: int) -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt

    words = ["one", "--requests", str(tmp_path / "requests"), "--step", "15"]
    with pytest.raises(KeyboardInterrupt):
        run_likelihood(words, tmp_path / "answers", interrupted, FAKE)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_expected_scores_of_extreme_likelihoods_are_finite() -> None:
    assert expected_score([-900.0] * 5 + [0.0], [0.0] * 6) == pytest.approx(5)
    assert expected_score([-900.0] * 6, [-2.0] * 6) == pytest.approx(2.5)


def test_a_checkpoint_is_asked_without_importing_the_trainer() -> None:
    code = (
        "import sys, quality.__main__, quality.reward.labeler.checkpoint; "
        "sys.exit(any(m.split('.')[0] in ('trainer', 'torch') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
