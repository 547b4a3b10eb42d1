"""Questions are put in all their ways evenly, and no way gives its answer away."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.vl_data.synthesis.test_draws import chi_square
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.phrasings import GAP, PROMPTS, Question, ask, numbers_near

QUESTION = Question(
    "colour",
    ("What colour is the {thing}?", "Which colour has the {thing}?"),
    ("Name the colour of the {thing}.",),
    ("The {thing} is {answer}.",),
)
COLOURS = ("red", "green", "blue", "yellow", "pink")


def test_prompt_types_are_drawn_evenly() -> None:
    draws = Draws("prompts")
    turns = [ask(draws, QUESTION, "red", COLOURS, thing="hat") for _ in range(4000)]
    prompts = Counter[object](turn.asked.prompt for turn in turns)
    assert set(prompts) == set(PROMPTS)
    assert chi_square(prompts, len(PROMPTS)) < 30
    assert {turn.asked.kind for turn in turns} == {"colour"}
    assert all("{" not in turn.question and turn.answer for turn in turns)


def test_letters_and_yes_and_no_are_even_and_right() -> None:
    draws = Draws("letters")
    letters: Counter[object] = Counter()
    checks: Counter[object] = Counter()
    for _ in range(6000):
        turn = ask(draws, QUESTION, "red", COLOURS, thing="hat")
        if turn.asked.prompt == "choice":
            assert f"{turn.answer}. red" in turn.question
            assert turn.question.count(". red") == 1
            letters[turn.answer] += 1
        elif turn.asked.prompt == "check":
            assert ("The hat is red." in turn.question) == (turn.answer == "yes")
            checks[turn.answer] += 1
        elif turn.asked.prompt == "complete":
            assert f"The hat is {GAP}." in turn.question
    assert chi_square(letters, 4) < 25
    assert chi_square(checks, 2) < 16


def test_without_other_answers_nothing_is_offered_or_claimed() -> None:
    draws = Draws("open")
    prompts = {ask(draws, QUESTION, "red", ["red"], thing="hat").asked.prompt for _ in range(300)}
    assert prompts == {"question", "instruction", "complete"}


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="'colour': found an empty answer"):
        ask(Draws("x"), QUESTION, "", thing="hat")


def test_numbers_near_are_wrong_and_in_range_on_either_side() -> None:
    draws = Draws("near")
    for value in range(10):
        found = [int(n) for n in numbers_near(draws, value, 0, 9)]
        assert len(found) == 3
        assert value not in found
        assert min(found) >= 0
        assert max(found) <= 9
    ranks = Counter[object](
        sum(int(n) < 50 for n in numbers_near(draws, 50, 0, 100)) for _ in range(2000)
    )
    assert chi_square(ranks, 4) < 25
    assert numbers_near(draws, 1, 1, 2) == ["2"]
