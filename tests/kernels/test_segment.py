"""Words, sentences and the table of characters, against references and outside judges."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uniseg.sentencebreak import sentences as uniseg_sentences
from uniseg.wordbreak import words as uniseg_words

from kernels.text import reference, word_hashes, words
from kernels.text import unicode as u
from kernels.text.sentences import count_sentences
from tests.kernels.texts import WRITTEN, buffers, documents, pieces


def cut(text: str, whitespace: bool = False) -> list[str]:
    spans, places = words(*buffers([text]), whitespace=whitespace)
    assert places.tolist() == [0, len(spans)]
    return [text.encode()[a:b].decode() for a, b in spans]


def sentences(line: str) -> int:
    encoded = line.encode()
    text = np.frombuffer(encoded + bytes(16), np.uint8).copy()
    return int(count_sentences(text, 0, len(encoded)))


def test_words_of_many_scripts() -> None:
    assert cut("I can't pay 3.14 euros, e.g. now") == [
        *("I", "can't", "pay", "3.14", "euros", ",", "e.g", ".", "now")
    ]
    assert cut("__init__ a_b x:y 1:2 C++") == [
        "__init__",
        "a_b",
        "x:y",
        "1",
        ":",
        "2",
        "C",
        "+",
        "+",
    ]
    assert cut("漢字カタカナひら") == ["漢", "字", "カタカナ", "ひ", "ら"]
    assert cut("👩‍👩‍👧🇩🇪🇫🇷👍🏽") == ["👩‍👩‍👧", "🇩🇪", "🇫🇷", "👍🏽"]
    assert cut("e\u0301te\u0301 n\u0303") == ["e\u0301te\u0301", "n\u0303"]
    assert cut(" \t\r\n\u3000") == []


@pytest.mark.parametrize("text", WRITTEN)
def test_written_words_equal_the_reference(text: str) -> None:
    text = text[:500]
    assert cut(text) == reference.words(text)
    assert cut(text, whitespace=True) == text.split()


@settings(max_examples=300, deadline=None)
@given(documents)
@example("\u200d👩 \u0301a\r\u0301b")
def test_words_equal_the_reference(text: str) -> None:
    assert cut(text) == reference.words(text)
    assert cut(text, whitespace=True) == text.split()


@settings(max_examples=500, deadline=None)
@given(pieces)
def test_words_equal_uniseg(text: str) -> None:
    """uniseg 0.10 has Unicode 16.0; the characters here have kept their values since."""
    assert cut(text) == [word for word in uniseg_words(text) if not word[0].isspace()]


_LINE = st.lists(
    st.sampled_from(
        [*"aB1.?!\")',-漢。éΣ(:", " ", "\u0300", "\u00ad", "\u2024", "U.S", "e.g. ", "Dr. "]
    ),
    max_size=15,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(_LINE)
def test_sentences_equal_uniseg(line: str) -> None:
    """The alphabet leaves out Sentence_Break=Other, which uniseg 0.10 does not pass over in SB8."""
    assert sentences(line) == len(list(uniseg_sentences(line)))


@settings(max_examples=500, deadline=None)
@given(st.one_of(_LINE, documents.map(lambda text: " ".join(text.splitlines()))))
@example('Ask Dr. Who. e.g. #so it goes… And then? "Yes." 3.5 U.S.A.')
def test_sentences_equal_the_reference(line: str) -> None:
    assert sentences(line) == reference.sentences(line)


@settings(max_examples=200, deadline=None)
@given(st.lists(documents, max_size=4), st.booleans())
def test_word_hashes_equal_the_reference(texts: list[str], whitespace: bool) -> None:
    hashes, places = word_hashes(*buffers(texts), whitespace=whitespace)
    for row, text in enumerate(texts):
        found = hashes[places[row] : places[row + 1]].tolist()
        assert found == reference.content_word_hashes(text, whitespace)


def test_hashes_fold_case_and_leave_out_punctuation() -> None:
    hashes, places = word_hashes(*buffers(["Straße, ΣΑΣ! № 7", "STRAẞE (σας) ... 7"]))
    expected = [reference.word_hash(word) for word in ("straße", "σασ", "7")]
    assert hashes[: places[1]].tolist() == expected
    assert hashes[places[1] :].tolist() == expected


def test_simple_case_folding_agrees_with_python_where_both_know_a_character() -> None:
    for c in range(u.CODE_POINTS):
        full = chr(c).casefold()
        if len(full) == 1 and unicodedata.category(chr(c)) != "Cn":
            assert reference.folded(chr(c)) == full, hex(c)


def test_white_space_and_letters_agree_with_python_where_it_knows_a_character() -> None:
    for c in range(u.CODE_POINTS):
        character = chr(c)
        assert bool(reference.property_word(character) & u.SPACE) == character.isspace(), hex(c)
        if unicodedata.category(character) != "Cn":
            assert reference.is_letter(character) == character.isalpha(), hex(c)


def test_the_table_is_what_its_generator_writes() -> None:
    """A slice of the generator's work: the whole takes half a minute."""
    if regex.fullmatch(r"\p{Script=Latin}", "\ua7dc") is None:
        pytest.skip("needs a regex package that knows Unicode 16 or later")
    for c in [*range(0x3000), *range(0x1F000, 0x1F700)]:
        character, word = chr(c), reference.property_word(chr(c))
        name = u.WORD_BREAK[word & u.WB_MASK]
        assert regex.fullmatch(rf"\p{{WB={name}}}", character), hex(c)
        name = u.SENTENCE_BREAK[word >> u.SB_SHIFT & u.SB_MASK]
        assert regex.fullmatch(rf"\p{{SB={name}}}", character), hex(c)
        pictograph = bool(regex.fullmatch(r"\p{ExtPict}", character))
        assert bool(word & u.PICTOGRAPH) == pictograph, hex(c)


def test_bytes_that_are_no_utf8_end_too() -> None:
    """Arrow promises valid UTF-8; what breaks the promise must not be read beyond its end."""
    rng = np.random.default_rng(3)
    data = rng.integers(0, 256, 20_000, dtype=np.uint8)
    spans, _ = words(data, np.array([0, 9_999, 9_999, 20_000]))
    assert (spans[:, 0] < spans[:, 1]).all()
    assert spans.max() <= 10_001
