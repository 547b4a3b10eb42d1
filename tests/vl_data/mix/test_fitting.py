"""Long conversations are cut after an answer, and their images with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vl_data.images import MARK
from vl_data.mix.chat import chat_of, special
from vl_data.mix.fitting import fit_turns
from vl_data.mix.refusals import SampleRefused
from vl_data.mix.turns import TAG, Turn

TURNS = [
    Turn("user", f"{TAG}one two"),
    Turn("assistant", "three"),
    Turn("user", f"four {TAG}"),
    Turn("assistant", "five six"),
    Turn("user", "seven"),
]


def words(text: str) -> int:
    return len(text.split())


def tokens_of(turns: list[Turn], image_tokens: list[int]) -> int:
    """By the text itself: words between specials and marks, one a special, and the images'."""
    text = chat_of(turns, len(image_tokens)).text
    for role in ("user", "assistant", "turn_end"):
        text = text.replace(special(role), " S ")
    return words(text.replace(MARK, " ")) + sum(image_tokens)


def test_it_is_cut_where_an_answer_ends() -> None:
    # user: 2 + 2 + 100, assistant: 2 + 1; then user: 2 + 1 + 50, assistant: 2 + 2; then 2 + 1.
    assert fit_turns(TURNS, 1000, words, [100, 50])[:2] == (tuple(TURNS[:4]), 2)
    assert fit_turns(TURNS, 164, words, [100, 50]) == (tuple(TURNS[:4]), 2, 164)
    assert fit_turns(TURNS, 163, words, [100, 50]) == (tuple(TURNS[:2]), 1, 107)
    assert fit_turns(TURNS, 107, words, [100, 50]).tokens == 107
    assert fit_turns(TURNS, 106, words, [100, 50]) == ((), 0, 0)


def test_marks_without_images_are_refused() -> None:
    with pytest.raises(SampleRefused, match="found 2 marks in the text, expected 1"):
        fit_turns(TURNS, 1000, words, [100])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=6
    ),
    st.integers(1, 120),
)
def test_what_fits_is_the_most_that_does(shape: list[tuple[int, int, int]], budget: int) -> None:
    turns, image_tokens = [], []
    for asked, answered, images in shape:
        turns += [
            Turn("user", "q " * asked + f" {TAG} " * images),
            Turn("assistant", "a " * answered),
        ]
        image_tokens += [7] * images
    fitted = fit_turns(turns, budget, words, image_tokens)
    best = 0
    for end in range(2, len(turns) + 1, 2):
        used = sum(turn.text.count(TAG) for turn in turns[:end])
        if tokens_of(turns[:end], image_tokens[:used]) <= budget:
            best = end
    assert len(fitted.turns) == best
    assert fitted.images == sum(turn.text.count(TAG) for turn in turns[:best])
    if best:
        assert fitted.tokens == tokens_of(turns[:best], image_tokens[: fitted.images])
