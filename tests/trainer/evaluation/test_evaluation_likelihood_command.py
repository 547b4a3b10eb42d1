"""`trainer likelihood`: a file of requests, a file of answers; and labels by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer.evaluation.likelihood_command as likelihood_command
from dataflow.tokenizer import Tokenizer
from quality.__main__ import main as quality
from quality.reward.labeler.calibration import expected_score
from quality.reward.labels import load_labels
from quality.reward.scores_file import read_scores
from tests.trainer.commands.calls import call
from tests.trainer.evaluation.exported_model import export_decoder
from tests.trainer.evaluation.models import log_probabilities, small_decoder
from trainer.command import main
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder
from trainer.generation.digest import text_digest

SENTENCE = "The baker mended the boat near the harbour. "
ENDINGS = [" 1", " the mill"]
REQUESTS = [
    {"id": f"n{i}", "context": SENTENCE * (i % 5 + 1) + "a" * i, "continuations": ENDINGS}
    for i in range(12)
]  # fmt: skip


@pytest.fixture(scope="module")
def model(decoder: Decoder, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_decoder(decoder, tokenizer, tmp_path_factory.mktemp("models") / "small")


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    first, *rest = map(json.loads, path.read_text().splitlines())
    return first["model"], {row["id"]: row for row in rest}


def ask(model: Path, folder: Path, rows: list[Any], *more: object) -> Path:
    """The answers' file."""
    requests = write(folder / "requests.jsonl", rows)
    out = folder / "answers.jsonl"
    assert call("likelihood", model, "--requests", requests, "--out", out, "--device", "cpu",
                "--json", *more) == 0  # fmt: skip
    return out


def test_likelihoods_are_those_of_direct_computation(
    decoder: Decoder, tokenizer: Tokenizer, model: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = ask(model, tmp_path, REQUESTS, "--batch-tokens", 200)
    said = json.loads(capsys.readouterr().out)
    about, answers = read(out)
    assert (said["requests"], said["answered"], said["kept"], said["refused"]) == (12, 12, 0, 0)
    assert said["model"] == about
    assert about["weights"] == text_digest(decoder)
    assert (about["tokenizer"], about["longest"]) == (tokenizer.hash, 256)
    for request in REQUESTS:
        answer = answers[str(request["id"])]
        context = as_tokens(tokenizer, str(request["context"]))
        assert answer["tokens"] == len(context)
        for text, found in zip(request["continuations"], answer["log_probabilities"], strict=True):
            whole = torch.cat([context, as_tokens(tokenizer, text)])
            wanted = float(log_probabilities(decoder, whole)[len(context) - 1 :].sum())
            assert found == pytest.approx(wanted, abs=1e-3)


def test_the_same_requests_give_the_same_bytes_also_after_a_kill(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood_command, "WINDOW", 5)
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    words = ("--batch-tokens", 200)
    whole = ask(model, first, REQUESTS, *words)
    again = ask(model, second, REQUESTS, *words)
    assert whole.read_bytes() == again.read_bytes()
    # Killed within a batch: some answers of it are there, and half a line.
    lines = whole.read_bytes().splitlines(keepends=True)
    again.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    ask(model, second, REQUESTS, *words)
    assert read(again) == read(whole)
    assert sorted(again.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())
    before = again.read_bytes()
    ask(model, second, REQUESTS, *words)
    assert again.read_bytes() == before


def test_a_context_that_is_too_long_is_refused_and_the_others_are_answered(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*REQUESTS[:2], {"id": "long", "context": SENTENCE * 60, "continuations": [" 1"]}]
    out = ask(model, tmp_path, rows)
    assert json.loads(capsys.readouterr().out)["refused"] == 1
    answers = read(out)[1]
    assert set(answers) == {"n0", "n1", "long"}
    assert "expected at most 256; shorten the context" in answers["long"]["refused"]
    assert "log_probabilities" not in answers["long"]
    (tmp_path / "more").mkdir()
    out = ask(model, tmp_path / "more", rows, "--longest", 4096)
    assert "log_probabilities" in read(out)[1]["long"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2: JSONDecodeError"),
        ('{"id": "a"}', "line 2: KeyError('context')"),
        ('{"id": "a", "context": "", "continuations": ["x"]}', "line 2: context: found ''"),
        ('{"id": 5, "context": "a", "continuations": ["x"]}', "line 2: id: found 5"),
        ('{"id": "a", "context": "a", "continuations": []}', "line 2: continuations: found []"),
        ('{"id": "a", "context": "a", "continuations": [""]}', "line 2: continuations"),
        ('{"id": "n0", "context": "a", "continuations": ["x"]}', "'n0', which line 1 has"),
    ],
)
def test_a_line_that_is_no_request_is_named(
    model: Path, tmp_path: Path, row: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(REQUESTS[0]) + "\n" + row + "\n")
    words = ["likelihood", str(model), "--requests", str(path), "--out", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 1
    assert said in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "out").exists()


def test_answers_of_another_model_or_to_other_requests_are_not_added_to(
    tokenizer: Tokenizer, model: Path, tmp_path: Path
) -> None:
    out = ask(model, tmp_path, REQUESTS[:2])
    before = out.read_bytes()
    other = export_decoder(small_decoder(seed=1), tokenizer, tmp_path / "other")
    with pytest.raises(EvaluationError, match="answers of another model"):
        ask(other, tmp_path, REQUESTS[:3])
    with pytest.raises(EvaluationError, match="longest 256"):
        ask(model, tmp_path, REQUESTS[:3], "--longest", 300)
    with pytest.raises(EvaluationError, match="another request of id 'n0'"):
        ask(model, tmp_path, [{**REQUESTS[0], "context": "another"}])
    assert out.read_bytes() == before
    shutil.rmtree(other / "tokenizer")
    with pytest.raises(EvaluationError, match="name its folder by --tokenizer"):
        ask(other, tmp_path, REQUESTS[:1])


def test_a_digest_is_of_the_weights_and_not_of_the_folder(decoder: Decoder) -> None:
    assert text_digest(decoder) == text_digest(small_decoder())
    assert text_digest(decoder) != text_digest(small_decoder(seed=1))
    rounded = {key: one.to(torch.bfloat16) for key, one in decoder.weights.items()}
    assert text_digest(decoder) != text_digest(Decoder(decoder.recipe, rounded, decoder.rope_base))
    assert text_digest(decoder) != text_digest(Decoder(decoder.recipe, decoder.weights, 5_000.0))


def labelled(
    model: Path, folder: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """Label texts in processes as users start them; what was said."""
    listed = write(folder.parent / "list.jsonl", [{"text": text} for text in texts])
    capsys.readouterr()
    words = ["label", str(listed), "--out", str(folder), "--checkpoint", str(model), "--json"]
    # The rubric alone is longer than this model was made for.
    words += ["--device", "cpu", "--longest", "3000", "--characters", "9000"]
    assert quality(words) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_documents_are_labelled_by_a_checkpoint(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    texts = [SENTENCE * 3, "", "A mirror stood by the chapel."]
    found = labelled(model, tmp_path / "out", texts, capsys)
    assert (found["labelled"], found["without"], found["asked"]) == (2, {"empty": 1}, 12)
    labels = load_labels(tmp_path / "out" / "labels.jsonl")
    assert [label.characters for label in labels] == [len(text) for text in texts if text]
    scores, scorer = read_scores(tmp_path / "out" / "scores.parquet")
    about, raw = read(tmp_path / "out" / "likelihoods.jsonl")
    assert scorer.startswith(f"small {about['weights'][:16]}")
    logs = {name.rpartition(".")[0]: row["log_probabilities"] for name, row in raw.items()}
    for row in scores.to_pylist():
        name = row["content_id"].hex()
        wanted = expected_score(logs[f"{name}.depth"], logs["empty.depth"])
        assert row["reward.depth"] == pytest.approx(wanted, abs=1 / 128)
    ours = [logs[f"{label.content_id.hex()}.depth"] for label in labels]
    assert ours[0] != ours[1] != logs["empty.depth"]


@pytest.mark.long
def test_labels_by_a_checkpoint_are_the_same_again_and_after_a_kill(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a document that is longer than the model reads, so that there are two rounds."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    texts = [SENTENCE * 3, "", SENTENCE * 400, "A mirror stood by the chapel."]
    first, second, third = (tmp_path / name for name in "abc")
    labelled(model, first, texts, capsys)
    assert any("refused" in row for row in read(first / "likelihoods.jsonl")[1].values())
    labelled(model, second, texts, capsys)
    shutil.copytree(second, third)
    whole = (third / "likelihoods.jsonl").read_bytes().splitlines(keepends=True)
    (third / "likelihoods.jsonl").write_bytes(b"".join(whole[:7]) + whole[7][:30])
    assert labelled(model, third, texts, capsys)["kept"] >= 6
    for name in ("labels.jsonl", "failures.jsonl", "scores.parquet", "likelihoods.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        if name != "likelihoods.jsonl":  # there the order of lines tells of the kill
            assert (first / name).read_bytes() == (third / name).read_bytes()
