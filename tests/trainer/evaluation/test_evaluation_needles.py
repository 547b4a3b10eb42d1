"""Long questions: their lengths, places and answers, and how they are scored."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
import torch

from dataflow.tokenizer import Tokenizer
from tests.trainer.evaluation.models import VOCABULARY, log_probabilities
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.haystack import invented
from trainer.evaluation.long_tasks import KINDS, LongQuestion, long_question
from trainer.evaluation.needles import needles
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder, Memory

SENTENCE = 60
"""Tokens of the longest sentence, and more."""


def made(
    tokenizer: Tokenizer, kind: str, length: int = 1024, depth: float = 0.5, sample: int = 0
) -> LongQuestion:
    return long_question(
        kind, tokenizer, invented, length=length, depth=depth, seed=5, sample=sample
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [768, 2000, 9000])
def test_prompt_and_answer_fill_the_length(tokenizer: Tokenizer, kind: str, length: int) -> None:
    for sample in range(3):
        question = made(tokenizer, kind, length, sample=sample)
        answers = [len(as_tokens(tokenizer, a)) for a in (question.answer, *question.wrong)]
        assert length - SENTENCE <= len(question.prompt) + max(answers) <= length
        assert torch.equal(question.prompt, as_tokens(tokenizer, question.text))
        assert len({question.answer, *question.wrong}) == 4
        assert all(re.fullmatch(r" \w+\.", a) for a in (question.answer, *question.wrong))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_make_the_same_question(tokenizer: Tokenizer, kind: str) -> None:
    assert made(tokenizer, kind).text == made(tokenizer, kind).text
    assert made(tokenizer, kind).text != made(tokenizer, kind, sample=1).text


@pytest.mark.parametrize("kind", ["needle", "keys", "variables"])
def test_the_depth_is_where_the_answer_is(tokenizer: Tokenizer, kind: str) -> None:
    for depth in (0.0, 0.3, 1.0):
        for sample in range(4):
            question = made(tokenizer, kind, 4000, depth, sample)
            value = question.answer.strip(" .")
            assert question.text.count(value) == 1
            haystack = question.text[: question.text.index("\nQuestion")]
            place = haystack.index(value) / len(haystack)
            assert place == pytest.approx(depth, abs=0.08)


def test_the_key_asked_for_has_the_answer(tokenizer: Tokenizer) -> None:
    orders = set()
    for sample in range(6):
        question = made(tokenizer, "keys", 2000, sample=sample)
        needles_of = re.findall(r"number of the (\w+ \w+) is (\d+)\.", question.text)
        assert len(needles_of) == 4
        (asked,) = re.findall(r"what is the secret number of the (\w+ \w+)\?", question.text)
        assert dict(needles_of)[asked] == question.answer.strip(" .")
        assert {value for _, value in needles_of} == {
            a.strip(" .") for a in (question.answer, *question.wrong)
        }
        orders.add([name for name, _ in needles_of].index(asked))
    assert len(orders) > 1  # the place among the others does not tell


def test_names_lead_to_the_answer_in_order(tokenizer: Tokenizer) -> None:
    firsts = set()
    for sample in range(8):
        question = made(tokenizer, "variables", 2000, 0.1, sample)
        values: dict[str, str] = {}
        for name, value, before in re.findall(
            r"Let (\w) be (?:(\d+)|the same as (\w))\.", question.text
        ):
            values[name] = value or values[before]  # KeyError: not in order
        (asked,) = re.findall(r"which number is (\w)\?", question.text)
        assert len(values) == 12
        assert f" {values[asked]}." == question.answer
        assert {f" {value}." for value in values.values()} == {question.answer, *question.wrong}
        firsts.add(next(iter(values.values())) == values[asked])
    assert firsts == {True, False}


def test_the_common_word_is_the_most_common(tokenizer: Tokenizer) -> None:
    for length in (256, 3000):
        question = made(tokenizer, "common", length)
        body = question.text[len("Words: ") : question.text.index(".\nQuestion")]
        counts = Counter(body.split(", "))
        (first, most), (_, second) = counts.most_common(2)
        assert f" {first}." == question.answer
        assert most > second
        assert all(counts[w.strip(" .")] >= 1 for w in question.wrong)


def test_a_length_without_room_is_refused(tokenizer: Tokenizer, decoder: Decoder) -> None:
    for kind in KINDS:
        with pytest.raises(EvaluationError, match=f"{kind}: found a length of 20") as told:
            made(tokenizer, kind, 20)
        (least,) = re.findall(r"expected (\d+) or more", str(told.value))
        if kind == "common":
            assert made(tokenizer, kind, int(least)).prompt is not None
    with pytest.raises(EvaluationError, match="found a length of 20"):
        needles(decoder, tokenizer, lengths=[400, 20])
    with pytest.raises(EvaluationError, match="kinds"):
        needles(decoder, tokenizer, lengths=[400], kinds=["hay"])
    with pytest.raises(EvaluationError, match="depths"):
        needles(decoder, tokenizer, lengths=[400], depths=[0.5, 2])
    with pytest.raises(EvaluationError, match="samples"):
        needles(decoder, tokenizer, lengths=[400], samples=0)


def test_cells_are_those_of_direct_computation(tokenizer: Tokenizer, decoder: Decoder) -> None:
    told: list[tuple[int, int]] = []
    cells = needles(
        decoder, tokenizer, lengths=[200, 300], depths=[0.0, 1.0], kinds=["needle"], samples=2,
        seed=5, progress=lambda *n: told.append(n),
    )  # fmt: skip
    assert [(c.length, c.depth) for c in cells] == [(200, 0), (200, 1), (300, 0), (300, 1)]
    assert told == [(n, 4) for n in (1, 2, 3, 4)]
    cell = cells[1]
    shares, chosen, sizes = [], [], []
    for sample in range(2):
        question = made(tokenizer, "needle", 200, 1.0, sample)
        totals = []
        for answer in (question.answer, *question.wrong):
            ids = torch.cat([question.prompt, as_tokens(tokenizer, answer)])
            scores = log_probabilities(decoder, ids, first=len(question.prompt))
            totals.append(float(scores.sum()))
        shares.append(math.log(math.exp(totals[0]) / sum(map(math.exp, totals))))
        chosen.append(totals[0] == max(totals))
        sizes.append(len(question.prompt))
    assert cell.share.value == pytest.approx(sum(shares) / 2, abs=1e-3)
    assert cell.chosen.value == sum(chosen) / 2
    assert cell.exact.value == 0
    assert cell.tokens == sum(sizes) / 2


def test_cells_do_not_depend_on_what_else_is_asked(tokenizer: Tokenizer, decoder: Decoder) -> None:
    whole = needles(decoder, tokenizer, lengths=[350], depths=[0, 0.5], samples=2)
    alone = needles(
        decoder, tokenizer, lengths=[350], depths=[0.5], kinds=["variables"], samples=2,
        batch_tokens=1,
    )  # fmt: skip
    (same,) = [c for c in whole if c.kind == "variables" and c.depth == 0.5]
    assert alone[0].share.value == pytest.approx(same.share.value, abs=1e-4)
    assert (alone[0].exact, alone[0].tokens) == (same.exact, same.tokens)


def test_a_model_that_knows_the_answers_has_all_of_them(tokenizer: Tokenizer) -> None:
    questions = [made(tokenizer, "keys", 400, 0.5, sample) for sample in range(3)]
    known = {tuple(q.prompt.tolist()): as_tokens(tokenizer, q.answer) for q in questions}

    class Oracle:
        """Has every answer by heart, one prompt at a time."""

        device = torch.device("cpu")

        def prefill(self, prompts: list[torch.Tensor]) -> tuple[Memory, torch.Tensor]:
            (prompt,) = prompts
            self.answer = known[tuple(prompt.tolist())]
            memory = Memory(torch.zeros(1, dtype=torch.int64))
            return memory, self.logits(memory)

        def step(self, memory: Memory, tokens: torch.Tensor) -> torch.Tensor:
            assert len(tokens) == 1
            memory.lengths += 1
            return self.logits(memory)

        def logits(self, memory: Memory) -> torch.Tensor:
            at = min(int(memory.lengths), len(self.answer) - 1)
            return 9.0 * torch.eye(VOCABULARY)[self.answer[at : at + 1]]

    (cell,) = needles(
        Oracle(), tokenizer, lengths=[400], depths=[0.5], kinds=["keys"], samples=3, seed=5,  # type: ignore[arg-type]
        batch_tokens=1,
    )  # fmt: skip
    assert (cell.exact.value, cell.chosen.value) == (1, 1)
    assert cell.share.value > math.log(0.99)
