"""Several files of questions, whole texts, queries of each choice, groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataflow.tokenizer import Tokenizer
from tests.trainer.evaluation.models import log_probabilities
from trainer.evaluation.choice_files import as_json, load_files, load_questions
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.multiple_choice import Question, multiple_choice
from trainer.evaluation.report import choices_table
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder

PAIR = ("The baker mended the boat.", "The baker mend the boats and")
GAP = ("In the winter the mill", "In the winter the clerk")
REST = "counted what the baker kept."


def test_whole_texts_are_scored_from_their_second_token(
    decoder: Decoder, tokenizer: Tokenizer
) -> None:
    (judged,) = multiple_choice(decoder, tokenizer, [Question("", PAIR, 0)]).questions
    expected = [
        float(log_probabilities(decoder, as_tokens(tokenizer, text)).sum()) for text in PAIR
    ]
    assert judged.log_probabilities == pytest.approx(expected, abs=1e-3)
    with pytest.raises(EvaluationError, match="one token"):
        multiple_choice(decoder, tokenizer, [Question("", ("a", *PAIR), 1)])


def test_the_rest_of_a_sentence_is_scored_after_each_query(
    decoder: Decoder, tokenizer: Tokenizer
) -> None:
    question = Question("", (REST, REST), 1, queries=GAP)
    plain = Question(GAP[0], (REST, "the boat."), 0)
    found = multiple_choice(decoder, tokenizer, [question, plain], batch_tokens=16)
    expected = []
    for query in GAP:
        ids = as_tokens(tokenizer, query)
        whole = torch.cat([ids, as_tokens(tokenizer, f" {REST}")])
        expected.append(float(log_probabilities(decoder, whole)[len(ids) - 1 :].sum()))
    assert found.questions[0].log_probabilities == pytest.approx(expected, abs=1e-3)
    assert found.questions[1].log_probabilities[0] == pytest.approx(expected[0], abs=1e-3)


def test_groups_are_means_over_their_questions(decoder: Decoder, tokenizer: Tokenizer) -> None:
    questions = [
        Question("In the winter", ("the mill", "a boat"), 0, kind="a", source="x"),
        Question("Every evening", ("the clerk", "the shore"), 1, kind="b", source="x"),
        Question("Near the boat", ("a", "the valley"), 1, kind="a", source="x"),
    ]
    found = multiple_choice(decoder, tokenizer, questions)
    told = found.as_json()
    logs = told["samples"]
    assert told["groups"]["kind"]["a"]["questions"] == 2
    assert told["groups"]["kind"]["a"]["log_acc_norm2"]["value"] == pytest.approx(
        (logs[0] + logs[2]) / 2
    )
    assert told["groups"]["source"]["x"]["acc"]["value"] == found.acc.value
    assert told["samples_acc"] == [q.acc for q in found.questions]
    assert told["samples_acc_norm"] == [q.acc_norm for q in found.questions]
    table = choices_table(found, "file")
    assert "kind a" in table
    assert "source x" not in table  # the only one is the whole


def test_several_files_are_named(tmp_path: Path, decoder: Decoder, tokenizer: Tokenizer) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"query": "", "choices": ["the mill is", "the mill are"], "answer": 0}\n')
    two.write_text(
        '{"queries": ["the mill", "a boat"], "choices": ["is old", "is old"], "answer": 1, '
        '"kind": "gap", "id": "7"}\n'
    )
    files = load_files([one, two])
    assert files["two"] == [Question("", ("is old",) * 2, 1, ("the mill", "a boat"), kind="gap")]
    judged = {n: multiple_choice(decoder, tokenizer, q) for n, q in files.items()}
    assert sorted(as_json(judged)) == ["one", "two"]
    assert as_json({"one": judged["one"]}) == judged["one"].as_json()
    (tmp_path / "other").mkdir()
    with pytest.raises(EvaluationError, match="two files named one"):
        load_files([one, tmp_path / "other" / "one.jsonl"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"queries": ["a"], "choices": ["b", "c"], "answer": 0}', "queries: found .'a'., exp"),
        ('{"queries": "ab", "choices": ["b", "c"], "answer": 0}', "queries: found 'ab'"),
        ('{"query": "a", "choices": ["b", "c"], "answer": 0, "kind": 3}', "kind: found 3"),
    ],
)
def test_rows_that_are_not_questions(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(EvaluationError, match=f"line 1: {told}"):
        load_questions(file)
