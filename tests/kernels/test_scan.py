"""The compiled pass equals its plain reference, number by number, on any text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text import (
    MinHashParams,
    buffers_of,
    c4_line_spans,
    control_spans,
    minhash_params,
    minhash_reference,
    reference,
    scan,
)
from quality.signals import schema
from tests.kernels.texts import LANGUAGES, PROSE, WRITTEN, buffers, documents


def check(texts: list[str], words: str = "unicode") -> None:
    found = scan(*buffers(texts), words=words).signals
    for row, text in enumerate(texts):
        expected = reference.signals(text, words == "whitespace")
        assert found.keys() == expected.keys()
        wrong = {
            name: (found[name][row], value)
            for name, value in expected.items()
            if found[name][row] != value
        }
        assert not wrong, repr(text[:2000])


@pytest.mark.parametrize("words", ["unicode", "whitespace"])
def test_written_texts_equal_the_reference(words: str) -> None:
    check([text if words == "whitespace" else text[:600] for text in WRITTEN], words)


@settings(max_examples=250, deadline=None)
@given(st.lists(documents, max_size=3))
def test_any_texts_equal_the_reference(texts: list[str]) -> None:
    check(texts)


@settings(max_examples=150, deadline=None)
@given(st.lists(documents, max_size=3))
def test_any_texts_equal_the_reference_over_whitespace_words(texts: list[str]) -> None:
    check(texts, "whitespace")


@settings(max_examples=100, deadline=None)
@given(st.text("ab c", max_size=400), st.integers(1, 5))
def test_repetition_of_few_words_equals_the_reference(text: str, times: int) -> None:
    check([text * times])


@pytest.mark.parametrize("before", range(9))
def test_long_words_are_seen_at_every_alignment(before: int) -> None:
    start = "." * before + " "
    check(
        [start + "x" * n + f" {end} here.\r\n" for n in (984, 999, 1000, 1001) for end in "aé"],
        "whitespace",
    )


@pytest.mark.parametrize(
    "mark", ["\n", "\r", "\r\n", "\x0b", "\x1e", "\x85", "\u2028", "\u2003", "…"]
)
def test_breaks_and_spaces_are_seen_at_every_alignment(mark: str) -> None:
    check(["a" * n + mark + "b c d." + mark * 2 + "e" for n in range(20)], "whitespace")


@pytest.mark.long
@settings(max_examples=4000, deadline=None)
@given(documents)
def test_many_texts_equal_the_reference(text: str) -> None:
    check([text])
    check([text], "whitespace")


def test_signals_are_those_that_quality_declares() -> None:
    found = scan(*buffers([PROSE, ""])).signals
    declared = schema("scan")
    assert list(found) == declared.names
    for name, column in found.items():
        assert pa.array(column).type == declared.field(name).type, name


def test_a_document_means_the_same_wherever_it_stands() -> None:
    params = minhash_params()
    data, offsets = buffers(WRITTEN)
    whole = scan(data, offsets, params)
    padding = np.frombuffer(b"left out" + data.tobytes() + b"...", np.uint8)
    moved = scan(padding, offsets + 8, params)
    for row, text in enumerate(WRITTEN):
        alone = scan(*buffers([text]), params)
        for name, column in whole.signals.items():
            assert column[row] == alone.signals[name][0] == moved.signals[name][row]
        assert (whole.band_keys[row] == alone.band_keys[0]).all()
        assert (whole.band_keys[row] == moved.band_keys[row]).all()


@pytest.mark.parametrize("params", [minhash_params(), minhash_params(3, 4, 2, seed=9)])
def test_band_keys_equal_the_reference(params: MinHashParams) -> None:
    texts = [PROSE, LANGUAGES, "four words are here", "five words are here now", "", "?! ... --"]
    found = scan(*buffers(texts), params)
    for row, text in enumerate(texts):
        hashes = reference.content_word_hashes(text)
        signature = minhash_reference.signature(hashes, params)
        assert found.has_signature[row] == (signature is not None)
        if signature is not None:
            keys = minhash_reference.band_keys(signature.tolist(), params.bands, params.rows)
            assert found.band_keys[row].tolist() == keys
        else:
            assert not found.band_keys[row].any()


def test_without_parameters_there_is_no_signature() -> None:
    found = scan(*buffers([PROSE]))
    assert found.band_keys.shape == (1, 0)
    assert not found.has_signature.any()


def test_a_giant_document_is_read_whole_and_leaves_no_trace() -> None:
    line = "The quick brown fox jumps over the lazy dog, and nobody saw it happen.\n"
    giant = line * 30_000
    found = scan(*buffers(["small one here", giant, "small one here"]), minhash_params())
    assert found.signals["text.chars"].tolist() == [14, len(giant), 14]
    assert found.signals["text.words"][1] == 16 * 30_000
    assert found.signals["gopher.dup_line_frac"][1] == np.float32(29_999 / 30_001)
    assert found.signals["c4.sentences"][1] == 30_000
    # All but the first lines repeat; a 10-gram leaves out the spaces between its words.
    assert 0.7 < found.signals["gopher.dup_10_gram_char_frac"][1] < 0.9
    single = scan(*buffers(["word " * 400_000])).signals
    assert single["text.words"][0] == 400_000
    assert single["gopher.top_2_gram_char_frac"][0] == np.float32(9 * 399_999 / 2_000_000)


def test_wrong_buffers_are_refused() -> None:
    data, offsets = buffers(["one", "two"])
    with pytest.raises(ValueError, match="expected ascending byte offsets"):
        scan(data, offsets[::-1])
    with pytest.raises(ValueError, match="expected ascending byte offsets"):
        scan(data[:4], offsets)
    with pytest.raises(ValueError, match="expected uint8"):
        scan(data.astype(np.int8), offsets)
    with pytest.raises(ValueError, match="expected at most"):
        scan(np.broadcast_to(np.uint8(32), 1 << 31), np.array([0, 1 << 31]))
    with pytest.raises(ValueError, match=r'found "?\'?spacy'):
        scan(data, offsets, words="spacy")
    with pytest.raises(ValueError, match="1 nulls"):
        buffers_of(pa.array(["a", None]))
    with pytest.raises(ValueError, match="found int64"):
        buffers_of(pa.array([1]))


def test_buffers_of_slices_and_both_string_types() -> None:
    for kind in (pa.string(), pa.large_string()):
        strings = pa.array(["skip", "ab c", "", "é"], kind).slice(1)
        data, offsets = buffers_of(strings)
        assert scan(data, offsets).signals["text.bytes"].tolist() == [4, 0, 2]
    assert len(scan(*buffers_of(pa.array([], pa.string()))).has_signature) == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(documents, max_size=3), st.booleans(), st.integers(0, 5))
def test_c4_spans_are_the_lines_that_the_rules_remove(
    texts: list[str], terminal: bool, min_words: int
) -> None:
    rows, starts, lengths = c4_line_spans(
        *buffers(texts), terminal_punctuation=terminal, min_words=min_words
    )
    for row, text in enumerate(texts):
        left = bytearray(text.encode())
        mine = rows == row
        for start, length in sorted(zip(starts[mine], lengths[mine], strict=True), reverse=True):
            assert length > 0
            del left[start : start + length]
        lines = text.splitlines(keepends=True)
        removed = reference.c4_removed(text, terminal, min_words)
        kept = [line for line, gone in zip(lines, removed, strict=True) if not gone]
        assert left.decode() == "".join(kept), repr(text)


def test_c4_spans_of_neighbours_are_one() -> None:
    text = "menu\nhome\nA sentence that stays here.\n\nlog in"
    rows, starts, lengths = c4_line_spans(*buffers(["", text]))
    assert rows.tolist() == [1, 1]
    assert starts.tolist() == [0, 38]
    assert lengths.tolist() == [10, 7]


@settings(max_examples=200, deadline=None)
@given(st.lists(documents, max_size=3))
def test_control_spans_cover_the_control_characters(texts: list[str]) -> None:
    rows, starts, lengths = control_spans(*buffers(texts))
    for row, text in enumerate(texts):
        marked = bytearray(len(text.encode()))
        mine = rows == row
        for start, length in zip(starts[mine], lengths[mine], strict=True):
            assert start == 0 or not marked[start - 1], "runs are whole"
            marked[start : start + length] = b"x" * int(length)
        expected = "".join(
            ("x" if c < "\x80" else "xx")
            if (c < " " and c not in "\t\n\r") or "\x7f" <= c < "\xa0"
            else "\0" * len(c.encode())
            for c in text
        )
        assert marked.decode() == expected, repr(text)
