"""The pairs of a conversation, by the names that a table of tags has for them."""

from __future__ import annotations

from vl_data.labels.items import pair_digest
from vl_data.labels.pairs import pair_digests
from vl_data.mix.chat import chat_of
from vl_data.mix.turns import Turn

A, B = b"a" * 32, b"b" * 32


def test_an_answer_is_named_by_what_was_asked_before_it() -> None:
    turns = [
        Turn("system", "Be short."),
        Turn("user", "<image>\nHow many?"),
        Turn("assistant", "Three. "),
        Turn("user", "And here? <image>"),
        Turn("assistant", "größer"),
        Turn("user", "Thanks."),
    ]
    first, second = pair_digests(chat_of(turns, 2).text, [A, B])
    for instruction in ("How many?", "<image>\nHow many?"):
        for images in ([A], [A, B]):
            assert pair_digest(instruction, "Three.", images) in first
    for images in ([B], [A, B]):
        assert pair_digest("And here?", "größer", images) in second
    assert pair_digest("How many?", "Three.", [B]) not in first
    assert pair_digest("How many?", "Four.", [A]) not in first
    assert set(first).isdisjoint(second)


def test_text_without_turns_has_no_pairs() -> None:
    assert pair_digests("A page of text.", []) == []
    assert pair_digests(chat_of([Turn("assistant", "Alone.")], 0).text, []) == [
        (pair_digest("", "Alone."),)
    ]
