"""`trainer export` and `trainer import`."""

from __future__ import annotations

import filecmp
import json
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from transformers import MiniMaxForCausalLM

from tests.trainer.commands.calls import LENGTH, MODEL, call, train_on
from trainer.convert.errors import ConversionError
from trainer.convert.reader import Checkpoint
from trainer.data.corpus import Corpus
from trainer.generation.loading import open_decoder
from trainer.megatron import checkpoints
from trainer.run.request import RunRefused
from trainer.run.train import is_finished
from trainer.stages.loading import load_model


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def same(a: Path, b: Path) -> bool:
    return files(a) == files(b) and filecmp.cmpfiles(a, b, files(a), shallow=False)[0] == files(a)


@pytest.mark.parametrize("layout", ["released", "transformers"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_export_of_import_of_export_is_the_export(
    run: Path, tmp_path: Path, layout: str, dtype: str
) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    how = ("--layout", layout, "--dtype", dtype, "--max-shard-bytes", 40_000)
    assert call("export", run, "--out", first, *how) == 0
    assert call("import", first, "--out", tmp_path / "imported") == 0
    assert call("export", tmp_path / "imported", "--out", second, "--layout", layout,
                "--max-shard-bytes", 40_000) == 0  # fmt: skip
    assert same(first, second)
    assert len(list(first.glob("*.safetensors"))) > 1
    config = json.loads((first / "config.json").read_text())
    assert (config["max_position_embeddings"], config["eos_token_id"]) == (LENGTH, 1)
    head = Checkpoint(first).read("lm_head.weight")
    assert head.dtype == getattr(torch, dtype)
    decoder, _, about = open_decoder(tmp_path / "imported", device="cpu")
    assert torch.equal(decoder.weights["lm_head.weight"], head)
    assert about.dtype == dtype


def test_transformers_computes_what_the_run_does(run: Path, tmp_path: Path) -> None:
    call("export", run, "--out", tmp_path / "one", "--layout", "transformers", "--step", 2)
    model = MiniMaxForCausalLM.from_pretrained(tmp_path / "one", dtype=torch.float32).eval()
    tokens = torch.arange(100, 140)
    with torch.no_grad():
        theirs = model(tokens[None]).logits[0, -1]
    decoder, _, _ = open_decoder(run, step=2, device="cpu")
    torch.testing.assert_close(decoder.prefill([tokens])[1][0], theirs, rtol=1e-3, atol=1e-4)


def test_a_stage_starts_from_an_import(run: Path, corpus: Path, tmp_path: Path) -> None:
    call("export", run, "--out", tmp_path / "small", "--layout", "released")
    imported = tmp_path / "imported"
    assert call("import", tmp_path / "small", "--out", imported, "--corpus", corpus) == 0
    assert is_finished(imported)
    state = checkpoints.read_state(imported / "checkpoints", 0)
    assert state["identity"]["tokenizer"] == Corpus.open(corpus).tokenizer
    # The recipe that was written is the one to train with: the run's own is another one's name.
    model = load_model(imported / "small.yaml")
    begin = partial(train_on, corpus, length=LENGTH, steps=1, start_from=imported)
    outcome = begin(tmp_path / "next", model)
    assert (outcome.state, outcome.step) == ("finished", 1)
    fresh = train_on(corpus, tmp_path / "fresh", model, length=LENGTH, steps=1)
    assert outcome.loss is not None
    assert fresh.loss is not None
    assert outcome.loss < fresh.loss - 0.05  # of trained weights
    capped = model.model_copy(
        update={"experts": model.experts.model_copy(update={"capacity_factor": 1.0})}
    )
    with pytest.raises(RunRefused, match=r"another model; model\.experts\.capacity_factor"):
        begin(tmp_path / "capped", capped)


def test_an_import_for_a_recipe_holds_what_a_configuration_cannot(
    run: Path, tmp_path: Path
) -> None:
    call("export", run, "--out", tmp_path / "small", "--layout", "released")
    model = MODEL.model_dump(mode="json", exclude={"stages"}, exclude_none=True)
    model["experts"]["capacity_factor"] = 1.25
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(model))
    assert call("import", tmp_path / "small", "--out", tmp_path / "a", "--model", file) == 0
    state = checkpoints.read_state(tmp_path / "a" / "checkpoints", 0)
    wanted = load_model(file).model_dump(mode="json", exclude={"stages"})
    assert state["identity"]["model"] == wanted
    assert not list((tmp_path / "a").glob("*.yaml"))
    for change, told in (
        ({"heads": 4, "kv_heads": 2}, "heads 2, expected 4"),
        ({"vocab_size": 600}, "vocab_size 512, expected 600"),
    ):
        file.write_text(yaml.safe_dump(model | change))
        with pytest.raises(ConversionError, match=told):
            call("import", tmp_path / "small", "--out", tmp_path / "b", "--model", file)
    assert not (tmp_path / "b").exists()


def test_what_stands_is_left_alone_and_what_fails_leaves_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ("--layout", "released")
    assert call("export", run, "--out", tmp_path / "small", *to, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["step"], told["dtype"]) == (True, 3, "float32")
    with pytest.raises(ConversionError, match="small: found files, expected a new folder"):
        call("export", run, "--out", tmp_path / "small", *to)
    with pytest.raises(ConversionError, match="found files, expected a new folder"):
        call("import", tmp_path / "small", "--out", run)
    with pytest.raises(ConversionError, match="max_shard_bytes 0"):
        call("export", run, "--out", tmp_path / "none", *to, "--max-shard-bytes", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_an_import_asks_for_the_tokenizer(run: Path, tmp_path: Path) -> None:
    call("export", run, "--out", tmp_path / "small", "--layout", "released")
    (tmp_path / "small" / "tokenizer").rename(tmp_path / "tokenizer")
    with pytest.raises(ConversionError, match=r"found no tokenizer/.* by --tokenizer, or a corpus"):
        call("import", tmp_path / "small", "--out", tmp_path / "imported")
    how = ("--tokenizer", tmp_path / "tokenizer")
    assert call("import", tmp_path / "small", "--out", tmp_path / "imported", *how) == 0
    assert same(tmp_path / "imported" / "tokenizer", tmp_path / "tokenizer")


def test_several_processes_are_told_to_be_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConversionError, match="found WORLD_SIZE 2, expected one process"):
        call("export", run, "--out", tmp_path / "small", "--layout", "released")
    assert not list(tmp_path.iterdir())
