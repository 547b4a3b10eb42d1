"""`trainer generate`, on a run and on its export."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataflow.tokenizer import Tokenizer
from tests.trainer.commands.calls import LENGTH, call
from trainer.convert.errors import ConversionError
from trainer.convert.saved_run import loaded, open_run
from trainer.generation.errors import GenerationError
from trainer.generation.loading import open_decoder
from trainer.generation.prompts import read_prompts
from trainer.generation.text import TextStream
from trainer.models.segments import pack

PROMPTS = ("The river stone", "letter garden and", "The mirror")


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "small"
    assert call("export", run, "--layout", "released", "--out", out) == 0
    return out


def generated(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert call("generate", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_decoder_of_a_run_computes_what_the_trained_model_does(run: Path) -> None:
    decoder, tokenizer, about = open_decoder(run, device="cpu")
    assert (about.kind, about.step, about.stage, about.positions) == ("run", 3, "first", 64)
    assert tokenizer is not None
    assert about.ends == (tokenizer.eod,)
    prompts = [torch.from_numpy(tokenizer.encode(p).astype(np.int64)) for p in PROMPTS]
    _, logits = decoder.prefill(prompts)
    packed = torch.cat([*prompts, torch.zeros(LENGTH, dtype=torch.int64)])[:LENGTH]
    ends = torch.tensor([len(p) for p in prompts]).cumsum(0)
    cuts = torch.cat([torch.tensor([0]), ends, torch.tensor([LENGTH])]).to(torch.int32)
    with loaded(open_run(run), "cpu") as model, torch.no_grad():
        whole = model(packed, packed_seq_params=pack(cuts, LENGTH))
    wanted = whole[ends - 1, : about.vocab_size]
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)


def test_an_earlier_step_is_another_model(run: Path) -> None:
    last, _, about = open_decoder(run, device="cpu")
    earlier, _, before = open_decoder(run, step=2, device="cpu", dtype=torch.bfloat16)
    assert (before.step, before.dtype, about.dtype) == (2, "bfloat16", "float32")
    head = "lm_head.weight"
    assert not torch.equal(last.weights[head].to(torch.bfloat16), earlier.weights[head])


def test_a_run_and_its_export_write_the_same_whatever_the_batch(
    run: Path, exported: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask = ("--most", 9, "--temperature", 0.9, "--top-p", 0.95, "--seed", 4, "--device", "cpu")
    found = generated(capsys, run, "--prompt", *PROMPTS, *ask)
    assert [one["prompt"] for one in found["texts"]] == list(PROMPTS)
    assert len({tuple(one["tokens"]) for one in found["texts"]}) == len(PROMPTS)
    lines = "".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS)
    (tmp_path / "asked.jsonl").write_text(lines)
    parted = ("--prompts", tmp_path / "asked.jsonl", "--batch", 2)
    again = generated(capsys, exported, *parted, *ask)
    assert again["texts"] == found["texts"]
    assert again["model"]["kind"] == "exported"
    tokenizer = Tokenizer.load(run / "tokenizer")
    for both in (found, again):
        assert both["prefill"]["tokens"] == sum(len(tokenizer.encode(p)) for p in PROMPTS)
        assert both["decode"]["tokens"] == sum(len(one["tokens"]) - 1 for one in both["texts"])
        assert both["decode"]["tokens_per_second"] > 0
    other = generated(capsys, run, "--prompt", *PROMPTS, *ask[:-3], 5, "--device", "cpu")
    assert other["texts"] != found["texts"]


def test_a_text_ends_before_what_ends_texts(
    exported: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask = ("--prompt", PROMPTS[0], "--most", 12, "--seed", 1, "--device", "cpu")
    whole = generated(capsys, exported, *ask)["texts"][0]
    assert not whole["ended"]
    at = next(n for n, t in enumerate(whole["tokens"]) if n and t not in whole["tokens"][:n])
    copy = tmp_path / "small"
    shutil.copytree(exported, copy)
    config = json.loads((copy / "config.json").read_text())
    config["eos_token_id"] = whole["tokens"][at]
    (copy / "config.json").write_text(json.dumps(config))
    cut = generated(capsys, copy, *ask)["texts"][0]
    assert cut["ended"]
    assert cut["tokens"] == whole["tokens"][: at + 1]
    tokenizer = Tokenizer.load(exported / "tokenizer")
    assert cut["text"] == tokenizer.decode(cut["tokens"][:-1]).decode(errors="replace")


def test_a_terminal_sees_the_text_as_it_comes(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("generate", exported, "--prompt", PROMPTS[1], "--most", 6, "--device", "cpu")
    capsys.readouterr()
    call(*ask)
    at_once, rates = capsys.readouterr()
    assert at_once.startswith(PROMPTS[1])
    assert "prefill: " in rates
    assert "; decode: 5 tokens" in rates
    written: list[str] = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "write", written.append)
    call(*ask)
    assert "".join(written) == at_once
    assert len([piece for piece in written if piece]) > 3


@pytest.mark.parametrize("backend", ["tiktoken", "tokenizers"])
def test_characters_come_whole(run: Path, backend: str) -> None:
    tokenizer = Tokenizer.load(run / "tokenizer")
    if backend == "tokenizers":
        specials = tokenizer.specials
        tokenizer = tokenizer.with_specials(specials, {}, tokenizer.vocab_size)
    assert tokenizer.backend == backend
    text = "é€ 😀, x"
    ids = tokenizer.encode(text).tolist()
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.end() == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces  # a part of a character was held back
    stream = TextStream(tokenizer)
    part = [stream.push(token) for token in tokenizer.encode("a😀").tolist()[:-1]]
    assert "".join(part) == "a"
    assert set(stream.end()) == {"\ufffd"}
    assert TextStream(tokenizer).push(tokenizer.vocab_size) == ""


def test_prompts_that_cannot_be_read_on_are_refused(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "asked.txt"
    file.write_bytes(b"one\r\ntwo\n\xff\n")
    with pytest.raises(GenerationError, match=r"asked\.txt, line 3: found .* expected UTF-8"):
        read_prompts(file)
    file.write_bytes("one\r\ntwo\x85 and\n".encode())
    assert [prompt.text for prompt in read_prompts(file)] == ["one", "two\x85 and"]
    file = tmp_path / "asked.jsonl"
    for line in ('{"text": "a"}', "7", '{"prompt": 7}', "{"):
        file.write_text('{"prompt": "a"}\n' + line + "\n")
        with pytest.raises(GenerationError, match=r"asked\.jsonl, line 2.*: found"):
            read_prompts(file)
    with pytest.raises(GenerationError, match="prompt 2: found no text"):
        call("generate", run, "--prompt", "a", "", "--device", "cpu")
    with pytest.raises(GenerationError, match=r"prompt 1: found .*surrogates"):
        call("generate", run, "--prompt", "a\udc80", "--device", "cpu")
    for wrong in (("--top-p", 0), ("--temperature", -1), ("--most", 0), ("--device", "abacus")):
        with pytest.raises(SystemExit):
            call("generate", run, "--prompt", "a", *wrong)


def test_folders_without_a_model_or_its_tokenizer_say_so(
    run: Path, exported: Path, tmp_path: Path
) -> None:
    ask = ("--prompt", "a", "--device", "cpu")
    with pytest.raises(GenerationError, match=r"found neither checkpoints/ nor config\.json"):
        call("generate", tmp_path, *ask)
    with pytest.raises(GenerationError, match="found an exported model"):
        call("generate", exported, *ask, "--step", 1)
    with pytest.raises(ConversionError, match="no checkpoint of step 7, expected one of 2, 3"):
        call("generate", run, *ask, "--step", 7)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConversionError, match="found no checkpoint in checkpoints/"):
        call("generate", tmp_path, *ask)
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "tokenizer").rename(tmp_path / "tokenizer")
    with pytest.raises(ConversionError, match=r"found no tokenizer/.* by --tokenizer"):
        call("generate", bare, *ask)
    assert call("generate", bare, *ask, "--most", 1, "--tokenizer", tmp_path / "tokenizer") == 0
    shutil.copytree(exported, tmp_path / "alone")
    shutil.rmtree(tmp_path / "alone" / "tokenizer")
    with pytest.raises(GenerationError, match=r"found no tokenizer/.* by --tokenizer"):
        call("generate", tmp_path / "alone", *ask)
    tokenizer = Tokenizer.load(run / "tokenizer")
    other = tokenizer.with_specials(tokenizer.specials, {"<more>": 700}, 701)
    other.save(tmp_path / "other")
    for folder in (run, exported):
        with pytest.raises(ConversionError, match=r"found tokenizer|an embedding of 512 rows"):
            call("generate", folder, *ask, "--tokenizer", tmp_path / "other")
