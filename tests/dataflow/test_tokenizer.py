"""The tokenizer: both engines agree on every text, and text never becomes a special."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflow.tokenizer import RESERVED, SPECIALS, Tokenizer, TokenizerError, TokenizerMismatch
from dataflow.tokenizer.specials import special_string

PINNED = Path(__file__).parents[2] / "recipes" / "tokenizers" / "quickstart-32k"
PINNED_HASH = "7bd446cccd72dc9c"


@pytest.fixture(scope="module")
def pinned() -> Tokenizer:
    return Tokenizer.load(PINNED)


_TOKENIZER = Tokenizer.load(PINNED)

_CHARACTER = st.characters(codec="utf-8")
_RUNS = st.tuples(_CHARACTER, st.integers(1, 200)).map(lambda run: run[0] * run[1])
_BLANKS = st.text(" \t\r\n\v\f\x85\xa0\u2003\u2028\u3000", max_size=12)
_CODE = st.text(string.ascii_letters + string.digits + string.punctuation + " \n\t", max_size=40)
_SCRIPTS = st.text(
    st.sampled_from("éßŁДжяΩλאבحرकिখा中文字カなㅎ한글ก็ნაЁ́̈🙂👩‍💻🇩🇪ﬁ①½٣Ⅷ𝔘ǅʰ")
    | st.sampled_from(" .,'-_\n"),
    max_size=30,
)
_SPELLED = st.sampled_from(["<|eod|>", "<|pad|>", "<|image|>", "<|", "|>", "\U0010fffd<|leyden|>"])
TEXT = st.lists(
    st.one_of(st.text(_CHARACTER, max_size=30), _RUNS, _BLANKS, _CODE, _SCRIPTS, _SPELLED),
    max_size=8,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(TEXT)
@example("<|eod|>")
@example("\U0010fffd<|leyden|>\U0010fffd")
@example("def f(x):\n        return  x\r\n\r\n\t\t#  don't  \n   \n")
@example(" " * 300 + "a" + "\n" * 50 + " \n" * 70)
def test_both_engines_give_the_same_ids(text: str) -> None:
    ids = _TOKENIZER.encode(text)
    assert ids.dtype == np.uint32
    assert np.array_equal(ids, _TOKENIZER.reference_encode([text])[0])
    assert _TOKENIZER.decode(ids) == text.encode()
    assert (ids >= RESERVED).all()
    assert (ids < _TOKENIZER.vocab_size).all()


@pytest.mark.long
@settings(max_examples=20_000, deadline=None)
@given(TEXT)
def test_both_engines_give_the_same_ids_widely(text: str) -> None:
    ids = _TOKENIZER.encode(text)
    assert np.array_equal(ids, _TOKENIZER.reference_encode([text])[0])
    assert _TOKENIZER.decode(ids) == text.encode()


def test_both_engines_agree_on_every_code_point(pinned: Tokenizer) -> None:
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = ["".join(points[i : i + 8192]) for i in range(0, len(points), 8192)]
    # Between letters and blanks: does it join the word, and does it end a run of blanks?
    texts += [f"{c}a  {c}" for c in points[:0x3000]]
    for text, ids in zip(texts, pinned.reference_encode(texts), strict=True):
        found = pinned.encode(text)
        assert np.array_equal(found, ids)
        assert pinned.decode(found) == text.encode()


@pytest.mark.parametrize(
    "unit", ["a", " ", "\n", "!", "\u0301", "9", "漢", "\u00a0", "\r\n", "🙂", "\0", "A_", " \n"]
)
def test_a_megabyte_of_one_thing_is_no_trouble(pinned: Tokenizer, unit: str) -> None:
    text = unit * (1_000_000 // len(unit.encode()))
    ids = pinned.encode(text)
    assert pinned.decode(ids) == text.encode()
    short = text[:60_000]
    assert np.array_equal(pinned.encode(short), pinned.reference_encode([short])[0])


def test_no_piece_is_long(pinned: Tokenizer) -> None:
    for unit in ("x", " ", "\n", "-", "7", "\t\n", "字"):
        pieces = pinned.reference.pre_tokenizer.pre_tokenize_str(unit * 5000)
        assert max(end - start for _, (start, end) in pieces) <= 64 + 8 + 64


def test_special_ids_are_fixed() -> None:
    assert RESERVED == 64
    assert sorted(SPECIALS.values()) == list(range(64))
    named = [role for role in SPECIALS if not role.startswith("spare_")]
    assert {role: SPECIALS[role] for role in named} == {
        "pad": 0, "eod": 1, "image": 2, "image_newline": 3, "image_start": 4, "image_end": 5,
        "system": 6, "user": 7, "assistant": 8, "tool": 9, "turn_end": 10, "tool_call": 11,
        "tool_call_end": 12, "tool_result": 13, "tool_result_end": 14, "fim_prefix": 15,
        "fim_middle": 16, "fim_suffix": 17,
    }  # fmt: skip
    assert SPECIALS["spare_18"] == 18


def test_the_pinned_tokenizer_is_the_pinned_one(pinned: Tokenizer) -> None:
    assert pinned.hash == PINNED_HASH
    assert pinned.vocab_size == 32_768
    assert pinned.backend == "tiktoken"
    assert pinned.specials == SPECIALS
    assert pinned.eod == 1
    assert pinned.dtype == np.uint16
    assert (PINNED / "tokenizer.json").stat().st_size < 3_000_000


def test_every_entry_is_reachable_and_its_own_encoding(pinned: Tokenizer) -> None:
    assert pinned.definition is not None
    for token, i in list(pinned.definition.tokens.items())[::37]:
        try:
            text = token.decode()
        except UnicodeDecodeError:
            continue
        assert pinned.encode(text).tolist() == [i] == pinned.reference_encode([text])[0].tolist()


def test_specials_decode_to_their_spelling(pinned: Tokenizer) -> None:
    ids = [*pinned.encode("hello"), pinned.eod]
    assert pinned.decode(ids) == b"hello<|eod|>"


def test_others_read_the_file_with_the_same_ids(pinned: Tokenizer, tmp_path: Path) -> None:
    pinned.save(tmp_path)
    read = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert read.get_vocab_size() == pinned.vocab_size
    for role, i in pinned.specials.items():
        assert read.token_to_id(special_string(role)) == i
    for i in range(pinned.vocab_size):
        assert read.decode([i], skip_special_tokens=False).encode() == pinned.decode([i]) or (
            "\ufffd" in read.decode([i], skip_special_tokens=False)  # no whole character
        )


def test_a_lone_surrogate_is_an_error(pinned: Tokenizer) -> None:
    with pytest.raises(UnicodeEncodeError):
        pinned.encode("a\ud800b")


def test_another_tokenizers_ids_are_refused(pinned: Tokenizer) -> None:
    pinned.require(PINNED_HASH, "index")
    with pytest.raises(TokenizerMismatch) as caught:
        pinned.require("0123456789abcdef", "runs/a/index", run="runs/a")
    message = str(caught.value)
    assert "0123456789abcdef" in message
    assert PINNED_HASH in message
    assert "python -m dataflow retokenize runs/a " in message
    assert isinstance(caught.value, TokenizerError)
