"""Loss over the held-out documents of a built run, against documents scored one by one."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from dataflow.build import build
from dataflow.run import Run
from dataflow.shards import text_at
from dataflow.store import Store
from dataflow.tokenizer import Tokenizer
from mixtures.documents import walk
from tests.dataflow.corpora import write_corpus, write_recipe
from tests.mixtures.made_runs import Made, make_run
from tests.trainer.evaluation.models import log_probabilities, small_decoder
from trainer.data.corpus import Corpus
from trainer.data.errors import BadShard
from trainer.data.tokenizers import tokenizer_of
from trainer.evaluation.command import add_commands
from trainer.evaluation.corpus_loss import corpus_loss
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.haystack import draws, from_corpus
from trainer.evaluation.held_out import choose
from trainer.evaluation.statistics import ratio
from trainer.generation import loading
from trainer.generation.decoder import Decoder
from trainer.megatron import checkpoints


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=40)
    recipe = write_recipe(folder, partition_bytes="1MiB", held_out=0.3)
    build(recipe, str(folder / "run"), workers=0, show=False)
    return folder / "run"


@pytest.fixture
def corpus(run: Path) -> Iterator[Corpus]:
    corpus = Corpus.open(run)
    yield corpus
    corpus.close()


@pytest.fixture(scope="module")
def own(run: Path) -> Tokenizer:
    return tokenizer_of(Run.load(Store(str(run))))


def held_out_texts(run: Path) -> list[tuple[bytes, str, str]]:
    """Content id, source and text of every held-out document, by content id."""
    opened = Run.load(Store(str(run)))
    found = []
    columns = ["content_id", "source", "split", "text_offset", "text_bytes"]
    for shard in walk(opened, columns):
        record = opened.shards[shard.shard].pack
        for row in shard.table.to_pylist():
            if row["split"] == "heldout":
                with opened.store.open(record.outputs["shard"].path) as file:
                    text = text_at(file, row["text_offset"], row["text_bytes"])
                found.append((row["content_id"], row["source"], text))
    return sorted(found)


def test_losses_are_those_of_documents_scored_alone(
    run: Path, corpus: Corpus, own: Tokenizer, decoder: Decoder
) -> None:
    texts = held_out_texts(run)
    assert len(texts) > 4
    found = corpus_loss(decoder, own, corpus, l1=800, batch_tokens=500)
    nats, bytes_, tokens, sources, sizes = [], [], [], [], []
    by_position: dict[int, list[float]] = {}
    for _, source, text in texts:
        ids = torch.tensor([*own.encode(text).tolist(), own.eod])
        (scores,) = decoder.score([ids])
        nats.append(-float(scores.sum()))
        bytes_.append(len(text.encode()) - len(own.decode(ids[:1].tolist())))
        tokens.append(len(ids) - 1)
        sources.append(source)
        sizes.append(len(ids))
        for position, score in enumerate(scores.tolist(), 1):
            by_position.setdefault(int(math.log2(position)), []).append(-score)
    assert found.all.documents == len(texts)
    assert found.all.tokens == sum(tokens)
    assert found.all.loss.value == pytest.approx(sum(nats) / sum(tokens), rel=1e-5)
    assert found.all.loss.error == pytest.approx(ratio(nats, tokens).error, rel=1e-3)
    assert found.all.bits_per_byte is not None
    wanted = sum(nats) / math.log(2) / sum(bytes_)
    assert found.all.bits_per_byte.value == pytest.approx(wanted, rel=1e-5)
    assert {g.name for g in found.sources} == set(sources) == set(found.available)
    for group in found.sources:
        mine = [i for i, source in enumerate(sources) if source == group.name]
        assert group.documents == len(mine) == found.available[group.name][0]
        total = sum(nats[i] for i in mine) / sum(tokens[i] for i in mine)
        assert group.loss.value == pytest.approx(total, rel=1e-5)
    counted = {group.name: group.documents for group in found.lengths}
    short = sum(size < 200 for size in sizes)
    medium = sum(200 <= size <= 800 for size in sizes)
    wanted_counts = {"short": short, "medium": medium, "long": len(sizes) - short - medium}
    assert counted == {name: n for name, n in wanted_counts.items() if n}
    assert len(counted) > 1
    assert [g.name for g in found.positions[:3]] == ["1", "2–3", "4–7"]
    assert len(found.positions) == len(by_position)
    for bucket, group in enumerate(found.positions):
        assert group.tokens == len(by_position[bucket])
        mean = sum(by_position[bucket]) / len(by_position[bucket])
        assert group.loss.value == pytest.approx(mean, rel=1e-4)
    assert found.positions[0].documents == len(texts)
    orjson.dumps(found.as_json())


def test_a_model_that_scores_without_the_decoder_agrees(
    run: Path, corpus: Corpus, own: Tokenizer, decoder: Decoder
) -> None:
    found = corpus_loss(decoder, own, corpus, tokens=30)
    text = held_out_texts(run)[0][2]
    ids = torch.from_numpy(own.encode(text)[:30].astype("int64"))
    direct = -log_probabilities(decoder, ids)
    assert found.all.tokens == 29
    assert found.all.loss.value == pytest.approx(float(direct.mean()), rel=1e-4)
    assert found.all.loss.error is None
    assert found.all.bits_per_byte is not None
    bits = float(direct.sum()) / math.log(2) / len(own.decode(ids[1:].tolist()))
    assert found.all.bits_per_byte.value == pytest.approx(bits, rel=1e-4)


def test_a_larger_budget_reads_what_a_smaller_one_does(run: Path, corpus: Corpus) -> None:
    everything = choose(corpus, tokens=1 << 30, longest=1 << 30)
    assert [d.text_bytes for d in everything.documents] == [
        len(text.encode()) for _, _, text in held_out_texts(run)
    ]
    total = sum(d.tokens for d in everything.documents)
    assert sum(tokens for _, tokens in everything.available.values()) == total
    for budget in (2, total // 3, total):
        chosen = choose(corpus, tokens=budget, longest=1 << 30).documents
        assert budget - 1 <= sum(d.taken for d in chosen) <= budget
        assert chosen[:-1] == everything.documents[: len(chosen) - 1]
        last = everything.documents[len(chosen) - 1]
        assert chosen[-1] == replace(last, taken=chosen[-1].taken)
    cut = choose(corpus, tokens=1 << 30, longest=7).documents
    assert [d.taken for d in cut] == [7] * len(everything.documents)
    with pytest.raises(EvaluationError, match="expected 2 or more"):
        choose(corpus, tokens=1, longest=8)


def test_what_cannot_be_scored_is_refused(
    run: Path, corpus: Corpus, tokenizer: Tokenizer, decoder: Decoder, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=f"the model has {tokenizer.hash}"):
        corpus_loss(decoder, tokenizer, corpus)
    make_run(tmp_path / "all", [Made("a", 50)] * 3, tokenizer=tokenizer.hash)
    with pytest.raises(EvaluationError, match="found no held-out document"):
        corpus_loss(decoder, tokenizer, Corpus.open(tmp_path / "all"))
    documents = [Made("a", 50), Made("a", 40, "heldout"), Made("b", 30, "heldout")]
    make_run(tmp_path / "bad", documents, tokenizer=tokenizer.hash)
    (shard,) = (tmp_path / "bad").glob("shards/*/heldout-000000.tar")
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    with pytest.raises(BadShard, match=r"heldout-000000\.tar: found BLAKE3"):
        corpus_loss(decoder, tokenizer, Corpus.open(tmp_path / "bad"))


def test_a_haystack_of_held_out_sentences(
    run: Path, corpus: Corpus, own: Tokenizer, tokenizer: Tokenizer
) -> None:
    haystack = from_corpus(corpus, own)
    texts = [text for _, _, text in held_out_texts(run)]
    for seed in (0, 1):
        sentences = haystack(draws(seed))
        again = haystack(draws(seed))
        for _ in range(20):
            sentence = next(sentences)
            assert sentence == next(again)
            assert any(sentence in text for text in texts)
            assert not any(c.isdigit() for c in sentence)
    assert next(haystack(draws(0))) != next(haystack(draws(1)))
    with pytest.raises(EvaluationError, match="expected 64 or more"):
        from_corpus(corpus, own, tokens=200)
    with pytest.raises(EvaluationError, match="the model has"):
        from_corpus(corpus, tokenizer)


class TestCommand:
    """The command, with a model that was not trained."""

    @pytest.fixture(autouse=True)
    def _opened(self, monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
        about = loading.About(
            "model", "run", "small", 3, "text_8k", 256, 1e4, 512, "float32", "cpu", ()
        )

        given = {Path("own"): tokenizer, Path("large"): tokenizer.with_specials({}, {}, 520)}

        def opened(
            folder: Path, *, tokenizer: Path | None, **options: object
        ) -> tuple[Decoder, Tokenizer | None, loading.About]:
            return small_decoder(), given[tokenizer] if tokenizer else None, about

        monkeypatch.setattr(loading, "open_decoder", opened)
        stage = {
            "name": "text_8k", "length": 256, "rope_base": 1e4, "tokens": 2560,
            "batch": [{"tokens": 256}], "class_length": 120,
            "schedule": {"phases": [{"until": 2560, "rate": 1e-3}]},
        }  # fmt: skip

        def read_state(folder: Path, step: int) -> dict[str, Any]:
            assert (folder, step) == (Path("model/checkpoints"), 3)
            return {"identity": {"stage": stage}}

        monkeypatch.setattr(checkpoints, "read_state", read_state)

    def run(self, *arguments: str) -> int:
        options = parser().parse_args(["evaluate", "model", *arguments])
        return int(options.run(options))

    def test_everything_as_json(
        self, run: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "questions.jsonl"
        file.write_text('{"query": "The river", "choices": ["stone", "sky"], "answer": 1}\n')
        arguments = [
            "--corpus", str(run), "--choices", str(file), "--lengths", "768", "--depths", "0,1",
            "--kinds", "needle", "--samples", "2", "--tokens", "1Ki", "--longest", "128",
            "--haystack", "corpus", "--json",
        ]  # fmt: skip
        assert self.run(*arguments) == 0
        first = capsys.readouterr().out
        found = orjson.loads(first)
        assert set(found) == {"ok", "model", "loss", "choices", "needles"}
        assert found["ok"] is True
        assert found["model"]["step"] == 3
        assert found["loss"]["l1"] == 120  # of the stage in the checkpoint
        long = sum(d.tokens > 120 for d in choose(corpus, tokens=1024, longest=128).documents)
        (told,) = [one for one in found["loss"]["lengths"] if one["name"] == "long"]
        assert told["documents"] == long > 0
        assert found["loss"]["all"]["tokens"] == 1024 - found["loss"]["all"]["documents"]
        assert found["choices"]["questions"] == 1
        assert [cell["depth"] for cell in found["needles"]] == [0, 1]
        assert self.run(*arguments) == 0
        assert capsys.readouterr().out == first

    def test_tables_for_people(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("--corpus", str(run), "--tokens", "600", "--l1", "800") == 0
        out = capsys.readouterr().out
        lines = out.splitlines()
        assert lines[0].split() == ["held", "out", "documents", "tokens", "nats/token", "bits/byte"]
        assert lines[1].startswith("all ")
        assert any(line.startswith("length (L1 800) ") for line in lines)
        assert any(line.startswith("position ") for line in lines)
        needles = [
            "--corpus", str(run), "--tasks", "needles", "--lengths", "256,512", "--samples", "1",
            "--kinds", "needle,common",
        ]  # fmt: skip
        assert self.run(*needles) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split()[:3] == ["needle", "depth", "0%"]
        assert [line.split()[0] for line in lines[1:3]] == ["256", "512"]
        assert lines[4].split() == ["common", "all"]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "expected some of loss, choices, needles"),
            (["--tasks", "loss,speed"], "found speed"),
            (["--tasks", "loss"], "--tasks loss: found no --corpus RUN"),
            (["--tasks", "choices"], "--tasks choices: found no --choices FILE"),
            (["--tasks", "needles"], "found no tokenizer with the model"),
            (["--tasks", "needles", "--haystack", "corpus"], "--haystack corpus: found no"),
            (["--lengths", "30", "--tokenizer", "own"], "found a length of 30"),
            (["--choices", "absent.jsonl", "--tokenizer", "own"], "absent.jsonl: cannot be read"),
            (["--lengths", "400", "--tokenizer", "large"], "a tokenizer of 520, expected"),
        ],
    )
    def test_what_is_missing_is_told(self, arguments: list[str], told: str) -> None:
        with pytest.raises(EvaluationError, match=told):
            self.run(*arguments)


def parser() -> argparse.ArgumentParser:
    """The room's parser with this command alone."""
    root = argparse.ArgumentParser()
    commands = root.add_subparsers()

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        sub = commands.add_parser(name, help=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true")
        return sub

    add_commands(add)
    return root
