"""How captions agree with their images: scored by a checkpoint, read by a build."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks.harness import Report
from benchmarks.trainer import swapped_captions
from benchmarks.trainer.options import TrainerOptions
from dataflow.build import build
from dataflow.pictures import PictureReader
from dataflow.run import Run
from dataflow.store import Store
from dataflow.tokenizer import train as train_tokenizer
from tests.trainer.run.small_runs import MODEL
from trainer.command import main
from trainer.evaluation import pair_blocks
from trainer.evaluation.caption_gains import Prompts, caption_gains, tiled
from trainer.evaluation.gain_parts import GainParts
from trainer.evaluation.other_images import others_of_run
from trainer.evaluation.pair_blocks import blocks_of
from trainer.generation.loading import open_decoder
from trainer.generation.pictures import read_picture
from trainer.models.recipe import ModelRecipe
from trainer.run.request import Request
from trainer.run.train import train
from trainer.stages.recipe import StageRecipe
from trainer.vision.images import Images
from vl_data.images import MARK
from vl_data.reward.pairs import pair_id, pairs_of
from vl_data.reward.points import GAIN
from vl_data.reward.scores_file import in_steps, read_origin, read_scores

LENGTH = 256
VISION = {
    "layers": 1, "hidden": 24, "heads": 4, "ffn": 40, "patch": 14, "tile": 56, "tiling": "tiny56",
}  # fmt: skip
RECIPE = """\
name: captioned
sources:
  - name: descriptions
    kind: synthesised
    synthesis: {{form: descriptions, count: 40, size: 112, families: [colours, counting]}}
    seed: 5
dedup: {{near: {{enabled: false}}}}
tokenizer: {{use: {tokenizer}}}
image_reward: {reward}
build: {{partition_bytes: {partition}}}
"""


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    torch.set_num_threads(1)
    with mock.patch.object(pair_blocks, "BLOCK", 12):
        yield


@pytest.fixture(scope="module")
def model(shown_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, its images shown whole in one tile."""
    return _trained(shown_run, tmp_path_factory.mktemp("sees") / "out", {"vision": VISION})


def _trained(corpus: Path, out: Path, more: dict[str, Any]) -> Path:
    whole = 2 * 4 * LENGTH
    stage = StageRecipe.model_validate(
        {
            "name": "asked", "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"tokens": 4 * LENGTH}],
            "schedule": {"phases": [{"until": whole, "rate": 1e-2}]},
            **(
                {"packing": "whole", "tiling": "fixed56",
                 "draws": {"instructions": {"sources": ["instructions"]}}}
                if more else {"draws": {"text": {"sources": ["text"]}}}
            ),
        }
    )  # fmt: skip
    recipe = ModelRecipe.model_validate({**MODEL.model_dump(), "name": "two", **more})
    train(
        Request(
            model=recipe, stage=stage, corpus=str(corpus), out=out, micro_batch=2 * LENGTH,
            deterministic=True, json=True,
        )
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def captioned(shown_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over pairs of images and captions, and its run beside it."""
    folder = tmp_path_factory.mktemp("captioned")
    tokenizer = next((shown_run / "tokenizer").iterdir())
    recipe = folder / "captioned.yaml"
    recipe.write_text(RECIPE.format(tokenizer=tokenizer, reward="{}", partition="32MiB"))
    build(recipe, str(folder / "run"), show=False)
    return recipe


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["image-reward", *map(str, arguments), "--device", "cpu", "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def scored(model: Path, captioned: Path) -> Path:
    out = captioned.parent / "scores.parquet"
    arguments = ["image-reward", model, "--corpus", captioned.parent / "run", "--out", out]
    assert main([*map(str, arguments), "--device", "cpu"]) == 0
    return out


def test_gains_are_those_of_one_text_at_a_time(
    model: Path, captioned: Path, scored: Path, tmp_path: Path
) -> None:
    decoder, tokenizer, _ = open_decoder(model, device="cpu")
    assert tokenizer is not None
    assert decoder.vision is not None
    run = Run.load(Store(str(captioned.parent / "run")))
    (partition,) = run.partitions
    documents = run.table(partition.read, "documents")
    pairs = pairs_of(documents)
    digests = pairs.images.field("digest").to_pylist()
    pictures = {}
    for digest, data in PictureReader(run.store, partition.read).each(dict.fromkeys(digests)):
        (tmp_path / digest.hex()).write_bytes(data)
        pictures[digest] = read_picture(tmp_path / digest.hex(), decoder.vision.tiling)
    captions = dict(zip(pairs.ids().tolist(), pairs.caption.to_pylist(), strict=True))
    texts = documents["text"].to_pylist()
    assert all(f"{MARK}\n{caption}" in texts for caption in captions.values())
    newline = tokenizer.encode("\n").tolist()

    def score(caption: str, digest: bytes | None) -> float:
        ids = [*tokenizer.encode(caption).tolist(), tokenizer.eod]
        before, images = newline, None
        if digest is not None:
            picture = pictures[digest]
            before = [tokenizer.specials["image"]] * picture.plan.tokens + newline
            images = Images(torch.from_numpy(picture.tiles), (picture.plan,))
        found = decoder.score([torch.tensor([*before, *ids])], images)[0]
        return float(found[-len(ids) :].double().sum()) / len(caption.encode())

    scores = read_scores(scored)
    blocks = list(blocks_of(run))
    assert len(blocks) > 2
    pool = others_of_run(run)
    seen = [pair for block in blocks for pair in block.pairs]
    assert sorted(pair.id for pair in seen) == scores.pair.tolist() == sorted(captions)
    for block in blocks:
        for pair in block.pairs:
            others = pool.of(pair.pixels, 4)
            assert pair.id == pair_id(pair.digest, pair.caption)
            assert len(set(others) - {pair.digest}) == 4
            own = score(pair.caption, pair.digest)
            other = sum(score(pair.caption, digest) for digest in others) / len(others)
            (place,), (there,) = scores.places(np.frombuffer(pair.id, "V16"))
            assert there
            assert scores.gain[place] / GAIN == pytest.approx(in_steps(own - other), abs=2 / GAIN)
            unseen = in_steps(own - score(pair.caption, None))
            assert scores.gain_unseen[place] / GAIN == pytest.approx(unseen, abs=2 / GAIN)
    assert np.abs(scores.gain).max() > 0


def test_a_run_that_is_cut_goes_on_to_the_same_file(
    model: Path,
    captioned: Path,
    scored: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "scores.parquet"
    arguments = (model, "--corpus", captioned.parent / "run", "--out", out)
    add = GainParts.add
    made: list[str] = []

    def cut(self: GainParts, name: str, *rest: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(name)
        add(self, name, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(GainParts, "add", cut)
        with pytest.raises(KeyboardInterrupt):
            main(["image-reward", *map(str, arguments), "--device", "cpu", "--json"])
    assert not out.exists()
    assert len(list(tmp_path.glob("scores.parquet.parts/*.parquet"))) == 2
    code, found = called(capsys, *arguments)
    assert code == 0
    assert 0 < found["now"] < found["pairs"] == found["scored"]
    assert out.read_bytes() == scored.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]
    code, again = called(capsys, *arguments)
    assert (code, again["now"]) == (0, 0)
    assert {**again, "now": 0} == {**found, "now": 0}
    # What would be another score is refused, and leaves the file as it is.
    for more in (("--tiling", "tiny56"), ("--others", 1), ("--ask", "What is shown?")):
        code, refused = called(capsys, *arguments, *more)
        assert code == 1
        assert "found scores of another scorer" in refused["error"]
    assert out.read_bytes() == scored.read_bytes()


def test_gains_do_not_hang_on_how_the_corpus_is_cut(
    model: Path, captioned: Path, scored: Path, tmp_path: Path
) -> None:
    tokenizer = next((captioned.parent / "run" / "tokenizer").iterdir())
    recipe = tmp_path / "cut.yaml"
    recipe.write_text(RECIPE.format(tokenizer=tokenizer, reward="{}", partition="400KiB"))
    build(recipe, str(tmp_path / "run"), show=False)
    assert len(Run.load(Store(str(tmp_path / "run"))).partitions) > 3
    out = tmp_path / "scores.parquet"
    words = ["image-reward", model, "--corpus", tmp_path / "run", "--out", out, "--device", "cpu"]
    assert main(list(map(str, words))) == 0
    assert out.read_bytes() == scored.read_bytes()


def test_a_build_reads_the_scores(captioned: Path, scored: Path, tmp_path: Path) -> None:
    tokenizer = next((captioned.parent / "run" / "tokenizer").iterdir())
    recipe = tmp_path / "scored.yaml"
    reward = f"{{scores: {scored}}}"
    recipe.write_text(RECIPE.format(tokenizer=tokenizer, reward=reward, partition="32MiB"))
    build(recipe, str(tmp_path / "run"), show=False)
    run = Run.load(Store(str(tmp_path / "run")))
    (partition,) = run.partitions
    assert partition.image_reward is not None
    table = run.table(partition.image_reward, "signals")
    assert table["image_reward.gain"].null_count == 0
    pairs = pairs_of(run.table(partition.read, "documents"))
    scores = read_scores(scored)
    place, there = scores.places(pairs.ids())
    assert there.all()
    assert table["image_reward.gain"].to_pylist() == (scores.gain[place] / GAIN).tolist()
    path = tmp_path / "run" / partition.image_reward.outputs["signals"].path
    assert pq.read_schema(path).metadata[b"leyden.scorer"].decode() == read_origin(scored)[0]


def test_a_chat_is_asked_in_its_template(
    model: Path, captioned: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "scores.parquet"
    corpus = ("--corpus", captioned.parent / "run", "--out", out)
    code, found = called(capsys, model, *corpus, "--ask", "What is shown?", "--others", 1)
    assert code == 0
    assert found["scorer"]["ask"] == "What is shown?"
    _, tokenizer, _ = open_decoder(model, device="cpu")
    assert tokenizer is not None
    prompts = Prompts(tokenizer, "What is shown?")
    special = tokenizer.specials
    asked = [*tokenizer.encode("What is shown?").tolist(), special["turn_end"]]
    assert prompts.before(0).tolist() == [special["user"], *asked, special["assistant"]]
    assert prompts.caption("a").tolist()[-1] == special["turn_end"]


def test_what_has_no_gain_is_null(model: Path, captioned: Path) -> None:
    decoder, tokenizer, _ = open_decoder(model, device="cpu")
    assert tokenizer is not None
    run = Run.load(Store(str(captioned.parent / "run")))
    block = next(blocks_of(run))
    prompts = Prompts(tokenizer, None)
    assert decoder.vision is not None
    pictures = tiled(block.images(run), decoder.vision.tiling)

    def gains(count: int, longest: int) -> Any:
        mine = block.pairs[:count]
        shown = list(dict.fromkeys(pair.digest for pair in mine))
        others = [[d for d in shown if d != pair.digest][:2] for pair in mine]
        return caption_gains(
            decoder, prompts, mine, others, pictures, longest=longest, batch_tokens=500
        )

    (alone,) = gains(1, LENGTH)
    assert alone.other is None
    assert math.isfinite(alone.unseen)
    lengths = [len(prompts.caption(pair.caption)) for pair in block.pairs]
    assert min(lengths) < max(lengths)
    places = len(prompts.before(16))
    found = gains(len(lengths), places + max(lengths) - 1)
    for length, gain in zip(lengths, found, strict=True):
        assert (gain.other is None) == (gain.unseen is None) == (length == max(lengths))


def test_the_benchmark_of_swapped_captions(model: Path, tmp_path: Path) -> None:
    report = Report("trainer/swapped_captions", sink=None, json_only=True)
    options = TrainerOptions(scratch=tmp_path, quick=True, model=str(model), device="cpu")
    swapped_captions.run(report, options)
    found = {line.metric: line.value for line in report.lines}
    assert found["pairs"] == 40
    for name in ("informativeness", "gain over 1", "gain over none"):
        middle = found[f"{name}: area"]
        assert found[f"{name}: area, low end of 95 %"] <= middle
        assert middle <= found[f"{name}: area, high end"]


def test_the_area_counts_pairs() -> None:
    values = np.array([0.0, 1.0, 1.0, 2.0])
    assert swapped_captions.area(values, np.array([False, False, True, True])) == (1 + 0.5 + 2) / 4


def test_what_cannot_be_scored_is_refused(
    model: Path,
    captioned: Path,
    shown_run: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    corpus, out = captioned.parent / "run", tmp_path / "scores.parquet"
    blind = _trained(shown_run, tmp_path / "blind", {})
    (tmp_path / "other.parquet").write_text("no Parquet")
    other = tmp_path / "tokenizer"
    texts = [f"another {n} text of {n * n} words" for n in range(99)]
    train_tokenizer(texts, 400, other)
    for arguments, said in (
        ((blind, "--corpus", corpus), "found model two without a vision tower, expected one"),
        ((model, "--corpus", tmp_path), "found no journal/run.json, expected a finished run"),
        ((model, "--corpus", corpus, "--tiling", "fixed336"), "found fixed336 with tiles of 336"),
        ((model, "--corpus", corpus, "--tokenizer", other), "with which"),
        ((model, "--corpus", corpus, "--out", tmp_path / "other.parquet"),
         "other.parquet: found no Parquet file to read"),
    ):  # fmt: skip
        code, found = called(capsys, "--out", out, *arguments)
        assert code == 1
        assert said in found["error"]
    assert not out.exists()
