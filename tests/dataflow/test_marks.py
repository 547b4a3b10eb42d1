"""Marks and loss spans of texts from which cleaning takes bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dataflow.cleaning import Spans, remove_spans
from dataflow.marks import follow_spans, marks_that_stay, move_loss
from dataflow.tables import DOCUMENTS
from vl_data.images import MARK

TEXTS = st.text(st.sampled_from(["a", "é", "\0", MARK]), min_size=1, max_size=30)


def _cuts(text: str, flags: list[bool]) -> list[tuple[int, int]]:
    """Runs of flagged characters, in bytes."""
    cuts: list[tuple[int, int]] = []
    place = 0
    for character, flag in zip(text, flags, strict=False):
        size = len(character.encode())
        if flag:
            if cuts and sum(cuts[-1]) == place:
                cuts[-1] = (cuts[-1][0], cuts[-1][1] + size)
            else:
                cuts.append((place, size))
        place += size
    return cuts


@given(TEXTS, st.lists(st.booleans(), min_size=30, max_size=30), st.data())
def test_what_stays_is_what_the_characters_left_say(
    text: str, flags: list[bool], data: st.DataObject
) -> None:
    cuts = _cuts(text, flags)
    start = np.array([c[0] for c in cuts], np.int64)
    length = np.array([c[1] for c in cuts], np.int64)
    marks = [flag for character, flag in zip(text, flags, strict=False) if character == MARK]
    assert marks_that_stay(text.encode(), start, length) == [not gone for gone in marks]

    loss = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    spans = [place for a, n in _cuts(text, loss) for place in (a, a + n)]
    moved = move_loss(spans, start, length)
    assert moved == sorted(moved)
    spans_kept = Spans(np.zeros(len(cuts), np.int64), start, length, np.zeros(len(cuts), np.int64))
    (left,), _ = remove_spans(pa.array([text.encode()], pa.large_binary()), spans_kept)
    said = b"".join(left.as_py()[a:b] for a, b in zip(moved[::2], moved[1::2], strict=True))
    kept = zip(text, flags, loss, strict=False)
    assert said.decode() == "".join(c for c, gone, learned in kept if learned and not gone)


def _documents(texts: list[str], images: list[list[str]], loss: list[list[int]]) -> pa.Table:
    kind = pa.list_(pa.struct([("ref", pa.string())]))
    rows = [[{"ref": ref} for ref in held] for held in images]
    return pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "images": pa.array(rows, kind),
            "loss": pa.array(loss, DOCUMENTS.schema.field("loss").type),
        }
    )


def test_images_leave_with_their_marks_and_others_are_not_touched() -> None:
    documents = _documents(
        [f"x{MARK}y{MARK}", "plain\0", f"{MARK}z", "qr"],
        [["a", "b"], [], ["c"], []],
        [[], [0, 5], [3, 4], [0, 2]],
    )
    # The first mark of the first text, the zero of the second, all of the fourth.
    spans = Spans(
        np.array([0, 1, 3]), np.array([1, 5, 0]), np.array([3, 1, 2]), np.zeros(3, np.int64)
    )
    found = follow_spans(documents, spans)
    refs = [[image["ref"] for image in row] for row in found.images.to_pylist()]
    assert refs == [["b"], [], ["c"], []]
    assert found.loss.to_pylist() == [[], [0, 5], [3, 4], []]
    assert found.mute.tolist() == [False, False, False, True]
    assert found.pictured.tolist() == [1, 0, 1, 0]
    assert found.images.type == documents["images"].type


def test_nothing_moves_where_nothing_is_removed() -> None:
    documents = _documents([f"{MARK}"], [["a"]], [[0, 3]])
    empty = np.zeros(0, np.int64)
    found = follow_spans(documents, Spans(empty, empty, empty, empty))
    assert found.images.equals(documents["images"].chunk(0))
    assert found.loss.to_pylist() == [[0, 3]]
