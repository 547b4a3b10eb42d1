"""Beginning, middle and end of long documents."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.reward.labeler.excerpts import excerpt


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(3, 70))
def test_parts_are_of_the_text_in_order_and_no_longer_than_asked(text: str, most: int) -> None:
    parts = excerpt(text, most)
    assert all(text[part.start : part.end] == part.text for part in parts)
    if len(text) <= most:
        assert [part.text for part in parts] == [text]
        return
    first, middle, last = parts
    assert sum(len(part.text) for part in parts) == most
    assert (first.start, last.end) == (0, len(text))
    assert first.end <= middle.start <= middle.end <= last.start
    assert abs((middle.start - first.end) - (last.start - middle.end)) <= 3


def test_too_small_a_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 or more"):
        excerpt("abcd", 2)
