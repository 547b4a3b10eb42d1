"""Multiple choice: metrics against their definitions, letters, files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dataflow.tokenizer import Tokenizer
from tests.trainer.evaluation.models import log_probabilities
from trainer.evaluation.choice_files import load_questions
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.multiple_choice import (
    Question,
    judge,
    multiple_choice,
    without_letters,
)
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder

QUESTIONS = [
    Question("The baker mended the boat near the ", ("harbour.", "café, à côté", "mill"), 1),
    Question("In the winter, a green cart stood by the", ("chapel", "valley and the shore."), 0),
    Question("Every evening the clerk counted what", ("is", "the mill had kept", "a"), 2),
]


def test_metrics_are_those_of_direct_computation(decoder: Decoder, tokenizer: Tokenizer) -> None:
    found = multiple_choice(decoder, tokenizer, QUESTIONS, batch_tokens=64)
    accuracies, normed, logs = [], [], []
    for question, judged in zip(QUESTIONS, found.questions, strict=True):
        sums, per_byte = [], []
        for choice in question.choices:
            query = as_tokens(tokenizer, question.query.strip())
            whole = torch.cat([query, as_tokens(tokenizer, f" {choice}")])
            sums.append(float(log_probabilities(decoder, whole)[len(query) - 1 :].sum()))
            per_byte.append(sums[-1] / len(choice.encode()))
        assert judged.log_probabilities == pytest.approx(sums, abs=1e-3)
        accuracies.append(int(np.argmax(sums)) == question.answer)
        normed.append(int(np.argmax(per_byte)) == question.answer)
        shares = np.exp(per_byte) / np.exp(per_byte).sum()
        logs.append(math.log(shares[question.answer]))
    assert [j.acc for j in found.questions] == accuracies
    assert [j.acc_norm for j in found.questions] == normed
    assert found.acc.value == pytest.approx(np.mean(accuracies))
    assert found.acc_norm.value == pytest.approx(np.mean(normed))
    assert found.log_acc_norm2.value == pytest.approx(np.mean(logs), abs=1e-4)
    assert found.log_acc_norm2.error == pytest.approx(np.std(logs, ddof=1) / 3**0.5, abs=1e-4)
    assert found.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 3) / 3)
    assert found.as_json()["samples"] == pytest.approx(logs, abs=1e-4)


def test_queries_read_once_score_as_whole_texts(decoder: Decoder, tokenizer: Tokenizer) -> None:
    sizes = sorted(len(as_tokens(tokenizer, q.query)) for q in QUESTIONS)
    assert sizes[0] < sizes[-1]
    whole = multiple_choice(decoder, tokenizer, QUESTIONS, shared_from=1000)
    for shared_from in (1, sizes[-1]):  # all of them, and some
        told: list[tuple[int, int]] = []
        shared = multiple_choice(
            decoder, tokenizer, QUESTIONS, shared_from=shared_from,
            progress=lambda *n, told=told: told.append(n),
        )  # fmt: skip
        assert told[-1] == (3, 3)
        for a, b in zip(whole.questions, shared.questions, strict=True):
            assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-3)


def test_a_metric_that_counts_bytes_prefers_what_is_likely_for_its_length() -> None:
    question = Question("?", ("no", "éé éé éé"), 1)  # 2 and 14 bytes
    judged = judge(question, [-4.0, -14.0])
    assert not judged.acc
    assert judged.acc_norm
    assert judged.log_acc_norm2 == pytest.approx(-math.log(1 + math.exp(-1)))


def test_letters_of_choices_are_discarded() -> None:
    plain = Question("Which?\nred\nblue\nsay.", ("red", "blue"), 1)
    lettered = Question("Which?\nA. red\nB. blue\nsay.", ("(a) red", "(b) blue"), 1)
    assert without_letters(lettered) == plain
    assert without_letters(plain) == plain
    person = Question("Who?\nA. Lincoln was tall.\nsay", ("A. Lincoln", "C. Darwin"), 0)
    assert without_letters(person) == person


def test_a_file_of_questions(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    good = '{"query": "2 + 2 =", "choices": ["A) 3", "B) 4"], "answer": 1}\n'
    file.write_text(good + "\n" + good)
    assert load_questions(file) == [Question("2 + 2 =", ("3", "4"), 1)] * 2
    for line, told in (
        ('{"query": "a", "choices": ["b", "c"], "answer": 2}', "line 2: answer: found 2"),
        ('{"query": "a", "choices": ["b", "c"], "answer": true}', "line 2: answer: found True"),
        ('{"query": "a", "choices": ["b"], "answer": 0}', "line 2: choices: found 1"),
        ('{"query": "a", "choices": ["b", " "], "answer": 0}', "line 2: choices: found"),
        ('{"query": " ", "choices": ["b", "c"], "answer": 0}', "line 2: query: found"),
        ('{"query": "a", "answer": 0}', "line 2: KeyError"),
        ("[1]", "line 2: TypeError"),
        ("{", "line 2: JSONDecodeError"),
    ):
        file.write_text(good + line + "\n")
        with pytest.raises(EvaluationError, match=told):
            load_questions(file)
    file.write_text("\n")
    with pytest.raises(EvaluationError, match="found no question"):
        load_questions(file)
    with pytest.raises(EvaluationError, match="cannot be read"):
        load_questions(tmp_path / "absent.jsonl")
