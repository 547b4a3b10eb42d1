"""The file of raw answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from quality.endpoint.failures import EndpointError
from quality.endpoint.store import AnswerStore, Kept

FIRST = Kept("k", 0, b"first\n\xc3\xa9", 3, 4)
SECOND = Kept("k", 1, b"\xff\x00", 5, 6, estimated=True)
OTHER = Kept("other", 0, b"x" * 200_000, 0, 0)


def test_what_is_added_is_there_after_reopening(tmp_path: Path) -> None:
    with AnswerStore(tmp_path) as store:
        for kept in (FIRST, OTHER):
            store.add(kept)
    with AnswerStore(tmp_path) as store:
        store.add(SECOND)
        assert list(store.of("k")) == [FIRST, SECOND]
    before = (tmp_path / "answers.jsonl").read_bytes()
    with AnswerStore(tmp_path) as store:
        assert list(store.of("k")) == [FIRST, SECOND]
        assert list(store.of("other")) == [OTHER]
        assert list(store.of("none")) == []
        assert (len(store), store.prompt, store.answer) == (3, 8, 10)
    assert (tmp_path / "answers.jsonl").read_bytes() == before


def test_every_cut_in_the_last_line_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(tmp_path) as store:
        store.add(FIRST)
        start = path.stat().st_size
        store.add(SECOND)
    whole = path.read_bytes()
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        with AnswerStore(tmp_path) as store:
            assert list(store.of("k")) == [FIRST]
            store.add(SECOND)
        assert path.read_bytes() == whole


def test_two_runs_do_not_share_a_store(tmp_path: Path) -> None:
    with AnswerStore(tmp_path), pytest.raises(EndpointError, match="another run"):
        AnswerStore(tmp_path)
    AnswerStore(tmp_path).close()


@pytest.mark.parametrize("line", [b"not json\n", b'{"key": "k"}\n', b"[1]\n"])
def test_a_broken_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(tmp_path) as store:
        store.add(FIRST)
    path.write_bytes(path.read_bytes() + line + path.read_bytes())
    with pytest.raises(EndpointError, match=r"answers\.jsonl:2: found"):
        AnswerStore(tmp_path)
