"""Which documents are labelled: samples by hash, splits, order."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import xxhash

from quality.reward.documents import DocumentsError
from quality.reward.labeler.documents import Documents
from quality.reward.labeler.errors import LabelingRefused
from tests.quality.reward.labeler.answering import lines

TEXTS = [f"Document number {i} tells what it can about the number {i}." for i in range(300)]


def texts_of(path: Path, **how: Any) -> list[str]:
    return [document.text for document in Documents([path], **how)]


def test_all_documents_come_once_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    first = lines(tmp_path / "a.jsonl", [*TEXTS[:5], TEXTS[2]])
    second = tmp_path / "b.jsonl.gz"
    second.write_bytes(gzip.compress(lines(tmp_path / "c.jsonl", TEXTS[3:8]).read_bytes()))
    documents = Documents([first, second])
    assert len(documents) == 8
    assert [d.text for d in documents] == TEXTS[:8]
    assert [d.text for d in documents] == TEXTS[:8]
    about = [d.about for d in documents]
    assert about[0].content_id == xxhash.xxh3_128_digest(TEXTS[0].encode())
    assert {a.origin for a in about[:5]} == {"a.jsonl"}
    assert {a.origin for a in about[5:]} == {"b.jsonl.gz"}
    assert about[1].offset == len(first.read_bytes().splitlines(keepends=True)[0])
    assert (about[0].language, about[0].characters) == ("en", len(TEXTS[0]))


def test_a_sample_is_by_text_and_a_larger_one_holds_a_smaller(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", TEXTS)
    turned = lines(tmp_path / "b.jsonl", reversed(TEXTS))
    some, more = texts_of(path, sample=40), texts_of(path, sample=90)
    assert (len(some), len(more)) == (40, 90)
    assert set(some) < set(more)
    assert some == [text for text in TEXTS if text in set(some)]
    assert texts_of(turned, sample=40) == some[::-1]
    assert set(texts_of(path, sample=40, seed=1)) != set(some)
    assert texts_of(path, sample=10_000) == TEXTS


def test_documents_are_held_out_by_their_text(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", TEXTS)
    held = {d.text for d in Documents([path], held_out_share=0.2) if d.about.split == "heldout"}
    assert 30 < len(held) < 95
    fewer = {d.text for d in Documents([path], held_out_share=0.1) if d.about.split == "heldout"}
    assert fewer < held
    assert all(d.about.split == "train" for d in Documents([path], held_out_share=0))
    assert all(d.about.split == "heldout" for d in Documents([path], held_out_share=1))


def test_documents_without_text_are_known(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ["", " \n\t\u3000", "\ufffc\n\ufffc", "x"])
    found = list(Documents([path]))
    assert [d.about.empty for d in found] == [True, True, True, False]
    assert found[0].about.language is None


def test_what_cannot_be_labelled_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", TEXTS[:3])
    nothing = lines(tmp_path / "b.jsonl", [])
    wrong = tmp_path / "c.jsonl"
    wrong.write_text('{"text": "x"}\n{"text": 5}\n')
    with pytest.raises(LabelingRefused, match=r"b\.jsonl: found no document"):
        Documents([nothing])
    with pytest.raises(DocumentsError, match=r"c\.jsonl: line 2: text: found int"):
        Documents([wrong])
    with pytest.raises(LabelingRefused, match="--sample: found 0"):
        Documents([path], sample=0)
    with pytest.raises(LabelingRefused, match=r"--held-out: found 1\.5"):
        Documents([path], held_out_share=1.5)
