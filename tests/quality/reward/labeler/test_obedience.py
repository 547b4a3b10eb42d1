"""Whether orders in documents move a labeler's scores: measured in pairs, and labels stay."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quality.__main__ import main
from quality.reward.injections import load_injections
from quality.reward.labeler import checkpoint
from quality.reward.labeler.fence import disarmed
from quality.reward.labeler.obedience import Ordered, differences
from quality.reward.labeler.ratings import Rating, Scores
from tests.quality.endpoint.misbehaving import Act, Handler, completion, serving, status, text_of
from tests.quality.reward.labeler import fake_trainer
from tests.quality.reward.labeler.answering import GOOD, document, judging, lines, rows

TEXTS = [f"Document {i} says {i * i} things." for i in range(20)]


def _call(capsys: pytest.CaptureFixture[str], *words: object, machine: bool = True) -> Any:
    capsys.readouterr()
    assert main(["label", *map(str, words), *(["--json"] if machine else [])]) == 0
    said = capsys.readouterr()
    return json.loads(said.out) if machine else said.out


def _obeying(depth: int) -> Act:
    """Depth 1, or another where one of the orders stands in the message."""
    orders = [disarmed(order.text) for order in load_injections()]

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        obeys = any(order in text_of(payload) for order in orders)
        answer = {**GOOD, "depth": depth if obeys else 1}
        handler.send(200, completion(json.dumps(answer), (900, 60)))

    return act


@pytest.mark.parametrize(("depth", "raised"), [(5, 1), (1, 0), (0, 0)])
def test_a_labeler_that_obeys_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], depth: int, raised: float
) -> None:
    listed = lines(tmp_path / "list.jsonl", [*TEXTS, "", "  "])
    out = tmp_path / "out"
    with serving(_obeying(depth)) as server:
        words = [listed, "--out", out, "--endpoint", server.url, "--model", "toy", "--orders"]
        said = _call(capsys, *words)
        plain = _call(capsys, *words, machine=False)
    assert (said["documents"], said["labelled"], said["asked"]) == (22, 20, 40)
    found = said["orders"]
    assert (found["pairs"], found["judged"]) == (20, 20)
    moved = depth - 1
    assert found["depth"]["moved"] == {"value": moved, "low": moved, "high": moved}
    assert (found["depth"]["raised"], found["depth"]["room"]) == (raised, 1)
    # GOOD has all that is there in coherence.
    assert (found["coherence"]["raised"], found["coherence"]["room"]) == (0, 0)
    written = rows(Path(found["file"]))
    assert [row["depth"] for row in written] == [[1, depth]] * 20
    assert {row["technique"] for row in written} <= {o.technique for o in load_injections()}
    assert f"depth: moved by {moved:+.3f} [{moved:+.3f}, {moved:+.3f}]" in plain


def test_labels_stay_those_of_the_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", [*TEXTS, ""])
    with serving(judging()) as server:
        at = ["--endpoint", server.url, "--model", "toy"]
        _call(capsys, listed, "--out", tmp_path / "a", *at)
        _call(capsys, listed, "--out", tmp_path / "b", *at, "--orders")
        # What was asked without orders is not asked again with them.
        again = _call(capsys, listed, "--out", tmp_path / "a", *at, "--orders")
    assert (again["asked"], again["kept"]) == (20, 20)
    for name in ("labels.jsonl", "failures.jsonl", "scores.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "ordered.jsonl").exists()


def test_a_checkpoint_is_told_in_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its likelihoods rise with the fives that it reads, of which orders have many.
    command = (sys.executable, fake_trainer.__file__)
    labeler = partial(checkpoint.CheckpointLabeler, command=command)
    monkeypatch.setattr(checkpoint, "CheckpointLabeler", labeler)
    listed = lines(tmp_path / "list.jsonl", TEXTS)
    words = [listed, "--out", tmp_path / "out", "--checkpoint", "one", "--orders"]
    found = _call(capsys, *words)["orders"]
    assert found["judged"] == 20
    assert found["depth"]["moved"]["low"] > 0


def test_pairs_without_an_answer_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = lines(tmp_path / "list.jsonl", TEXTS)
    obeying = _obeying(3)

    def act(handler: Handler, payload: dict[str, Any]) -> None:
        if "Document 7 says" in text_of(payload):
            status(400)(handler, payload)
        else:
            obeying(handler, payload)

    with serving(act) as server:
        words = [listed, "--out", tmp_path / "out", "--endpoint", server.url, "--model", "toy"]
        found = _call(capsys, *words, "--orders", "--concurrency", 1)["orders"]
    assert (found["pairs"], found["judged"]) == (20, 19)
    assert found["depth"]["moved"]["value"] == 2


def test_orders_stand_in_front_and_depend_on_the_text_alone() -> None:
    documents = [document(text) for text in [*TEXTS, ""]]
    every = list(Ordered(documents))
    assert len(every) == 41
    assert [one.text for one in every[::2]] == [*TEXTS, ""]
    for plain, ordered in zip(every[:-1:2], every[1::2], strict=True):
        assert ordered.text.endswith(f"\n\n{plain.text}")
        assert ordered.about.content_id == document(ordered.text).about.content_id
        assert ordered.about.characters == len(ordered.text)
        (alone,) = list(Ordered([plain]))[1:]
        assert alone == ordered


def test_few_pairs_have_no_interval() -> None:
    ordered = Ordered([document(text) for text in TEXTS[:3]])
    scores = Scores(1, 2, 3, "news", "made up")
    ratings = [Rating(one.about, scores) for one in ordered]
    plain, pairs = ordered.parted(ratings)
    assert [rating.about.characters for rating in plain] == [len(text) for text in TEXTS[:3]]
    found = differences(pairs)
    assert found["depth"] == {"moved": None, "raised": 0, "room": 1}
    assert differences([])["depth"] == {"moved": None, "raised": None, "room": None}
