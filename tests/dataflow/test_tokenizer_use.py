"""Published tokenizers: the ids are exactly those of the file, whichever engine serves it."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import tiktoken
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from dataflow.tokenizer import PATTERN, Tokenizer, TokenizerError, train, use
from dataflow.tokenizer.commands import info_command, train_command, use_command
from dataflow.tokenizer.definition import BYTE_OF, Definition, last_merge, spell, unspell

SAMPLES = [
    "It's 1,234.5 o'clock — don't   wait\n\n\tfor WE'LL  \n",
    "для 中文字 कि 👩‍💻 <|endoftext|> x" + " " * 40 + "y",
    "",
    "\r\n \r\n",
]


def _texts() -> list[str]:
    made = random.Random(3)
    words = ["".join(made.choices("abcdefgh", k=made.randint(1, 6))) for _ in range(200)]
    return [" ".join(made.choices(words, k=50)) for _ in range(100)]


def _gpt2_like(path: Path, *, end: str = "<|endoftext|>", normalize: bool = False) -> Any:
    """A tokenizer as many are published: ByteLevel's own pattern, specials after the rest."""
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    if normalize:
        found.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=sorted(BYTE_OF), show_progress=False
    )
    found.train_from_iterator(_texts(), trainer)
    found.add_special_tokens([end])
    found.save(str(path))
    return found


def _agree(tokenizer: Tokenizer, judge: Any) -> None:
    judge.encode_special_tokens = True
    for text in [*SAMPLES, *_texts()[:20]]:
        expected = judge.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).tolist() == expected


def test_a_published_json_is_served_by_tiktoken(tmp_path: Path) -> None:
    judge = _gpt2_like(tmp_path / "t.json")
    tokenizer = use(tmp_path / "t.json", tmp_path / "out")
    assert tokenizer.backend == "tiktoken"
    _agree(tokenizer, judge)
    _agree(Tokenizer.load(tmp_path / "out"), judge)
    # Its own special keeps its id; roles it lacks follow the last one.
    assert tokenizer.eod == judge.token_to_id("<|endoftext|>") == 600
    assert sorted(tokenizer.specials.values()) == list(range(600, 618))
    assert tokenizer.vocab_size == 618
    exact = use(tmp_path / "t.json", reserve=False, vocab_size=640)
    assert exact.specials == {"eod": 600}
    assert exact.vocab_size == 640
    assert exact.hash != tokenizer.hash


def test_ids_in_any_order_are_kept(tmp_path: Path) -> None:
    _gpt2_like(tmp_path / "t.json")
    data = orjson.loads((tmp_path / "t.json").read_bytes())
    ids = list(range(1000, 1600))
    random.Random(5).shuffle(ids)
    vocabulary = data["model"]["vocab"]
    data["model"]["vocab"] = dict(zip(vocabulary, ids, strict=True))
    data["added_tokens"][0]["id"] = 5
    (tmp_path / "t.json").write_bytes(orjson.dumps(data))
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert tokenizer.backend == "tiktoken"
    assert tokenizer.vocab_size == 1600
    _agree(tokenizer, tokenizers.Tokenizer.from_file(str(tmp_path / "t.json")))
    text = _texts()[0]
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode()


def test_the_hash_is_of_what_it_does_not_of_the_spelling(tmp_path: Path) -> None:
    _gpt2_like(tmp_path / "t.json")
    data = orjson.loads((tmp_path / "t.json").read_bytes())
    first = Tokenizer.load(tmp_path / "t.json").hash
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    data["model"]["vocab"] = dict(reversed(data["model"]["vocab"].items()))
    (tmp_path / "t.json").write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2))
    assert Tokenizer.load(tmp_path / "t.json").hash == first
    merges = data["model"]["merges"]
    merges[-1], merges[-2] = merges[-2], merges[-1]
    (tmp_path / "t.json").write_bytes(orjson.dumps(data))
    assert Tokenizer.load(tmp_path / "t.json").hash != first


@pytest.mark.parametrize("what", ["normalizer", "unigram", "added", "order"])
def test_what_tiktoken_cannot_serve_runs_on_tokenizers(tmp_path: Path, what: str) -> None:
    path = tmp_path / "t.json"
    judge = _gpt2_like(path, normalize=what == "normalizer")
    if what == "unigram":
        judge = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0)], 0))
        judge.add_special_tokens(["</s>"])
        judge.save(str(path))
    elif what == "added":
        judge.add_tokens(["ab cd"])
        judge.save(str(path))
    elif what == "order":
        # A merge listed before one that makes its part: `tokenizers` then goes another way.
        data = orjson.loads(path.read_bytes())
        data["model"]["merges"].insert(0, data["model"]["merges"].pop())
        path.write_bytes(orjson.dumps(data))
        judge = tokenizers.Tokenizer.from_file(str(path))
    tokenizer = use(path, tmp_path / "out")
    assert tokenizer.backend == "tokenizers"
    assert tokenizer.reason
    loaded = Tokenizer.load(tmp_path / "out")
    assert loaded.backend == "tokenizers"
    assert loaded.hash == tokenizer.hash
    for text in ("ab cd  abc", _texts()[0]):
        judge.encode_special_tokens = True
        assert loaded.encode(text).tolist() == judge.encode(text, add_special_tokens=False).ids


def test_a_run_of_blanks_that_breaks_tiktoken_is_still_encoded(tmp_path: Path) -> None:
    judge = _gpt2_like(tmp_path / "t.json")
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    text = "a" + " " * 1_000_000 + "b"
    assert tokenizer.encode(text).tolist() == judge.encode(text).ids


def test_roles_must_be_found(tmp_path: Path) -> None:
    _gpt2_like(tmp_path / "t.json", end="[over]")
    with pytest.raises(TokenizerError, match=r"--special eod=SPELLING \(it has \[over\]\)"):
        Tokenizer.load(tmp_path / "t.json")
    with pytest.raises(TokenizerError, match="no role 'end'"):
        Tokenizer.load(tmp_path / "t.json", specials={"end": "[over]"})
    with pytest.raises(TokenizerError, match="'<x>' for role 'eod' is not in the file"):
        Tokenizer.load(tmp_path / "t.json", specials={"eod": "<x>"})
    assert Tokenizer.load(tmp_path / "t.json", specials={"eod": "[over]"}).eod == 600


def _write_tiktoken(path: Path, ranks: dict[bytes, int]) -> None:
    lines = [b"%s %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    path.write_bytes(b"\n".join(lines) + b"\n")


def test_a_tiktoken_file_gives_tiktokens_ids(tmp_path: Path) -> None:
    trained = train(_texts(), 600)
    assert trained.definition is not None
    tokens = sorted(trained.definition.tokens, key=trained.definition.tokens.__getitem__)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    _write_tiktoken(tmp_path / "t.tiktoken", ranks)
    special = {"<|endoftext|>": len(ranks)}
    judge = tiktoken.Encoding("t", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    tokenizer = use(tmp_path / "t.tiktoken", tmp_path / "out", pattern=PATTERN, special_ids=special)
    loaded = Tokenizer.load(tmp_path / "out")
    assert loaded.hash == tokenizer.hash
    for text in [*SAMPLES, *_texts()[:20]]:
        expected = judge.encode_ordinary(text)
        assert loaded.encode(text).tolist() == expected
        assert loaded.reference_encode([text])[0].tolist() == expected
    with pytest.raises(TokenizerError, match="neither its pattern nor its specials"):
        Tokenizer.load(tmp_path / "t.tiktoken")


def test_a_tiktoken_vocabulary_with_tokens_that_no_merge_makes(tmp_path: Path) -> None:
    ranks = {bytes([i]): i for i in range(256)} | {b"abc": 256, b"ab": 257, b"hello": 258}
    _write_tiktoken(tmp_path / "t.tiktoken", ranks)
    special = {"</s>": 300}
    judge = tiktoken.Encoding("t", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    use(tmp_path / "t.tiktoken", tmp_path / "out", pattern=PATTERN, special_ids=special)
    tokenizer = Tokenizer.load(tmp_path / "out")
    for text in ("abc", "xabcab", "hello", "hellooo", "aabbcc abc"):
        assert tokenizer.encode(text).tolist() == judge.encode_ordinary(text)


def test_a_broken_tiktoken_file_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "t.tiktoken").write_bytes(b"YQ== 0\nYg==\n")
    with pytest.raises(TokenizerError, match="line 2: found b'Yg==', expected `base64 rank`"):
        Tokenizer.load(tmp_path / "t.tiktoken", pattern=PATTERN, special_ids={"</s>": 9})


def test_a_vocabulary_without_every_byte_is_refused() -> None:
    with pytest.raises(TokenizerError, match="lacks 255 of the 256 single bytes"):
        Definition(PATTERN, {b"a": 0}, (), {}, {}, 1)


def test_bytes_are_spelled_as_tokenizers_spells_them() -> None:
    assert set(BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())
    everything = bytes(range(256))
    assert unspell(spell(everything)) == everything
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        "aé 中\n\x00"
    )
    assert "".join(piece for piece, _ in pieces) == spell("aé 中\n\x00".encode())


def test_the_last_merge_of_a_token() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"abc": 4, b"cab": 5, b"bcb": 6}
    assert last_merge(b"ab", ranks) == (b"a", b"b")
    assert last_merge(b"abc", ranks) == (b"ab", b"c")
    assert last_merge(b"cab", ranks) == (b"c", b"ab")
    assert last_merge(b"bcb", ranks) is None


def test_commands(tmp_path: Path) -> None:
    _gpt2_like(tmp_path / "t.json", end="[a=b]")
    found = use_command(tmp_path / "t.json", out=tmp_path / "out", specials={"eod": "[a=b]"})
    assert found["specials"]["eod"] == 600
    assert found["backend"] == "tiktoken"
    assert info_command(tmp_path / "out")["hash"] == found["hash"]
    (tmp_path / "texts.txt").write_text("\n".join(_texts()))
    trained = train_command([tmp_path / "texts.txt"], vocab_size=400, out=tmp_path / "out")
    assert trained["vocab_size"] == 400
    assert trained["dtype"] == "uint16"
    assert Tokenizer.load(tmp_path / "out").hash == trained["hash"]


def test_large_vocabularies_need_four_bytes() -> None:
    trained = train(_texts(), 500)
    assert trained.dtype == np.uint16
    assert trained.with_specials(trained.specials, {}, 1 << 16).dtype == np.uint16
    assert trained.with_specials(trained.specials, {}, (1 << 16) + 1).dtype == np.uint32
