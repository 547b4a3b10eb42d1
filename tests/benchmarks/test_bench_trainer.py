"""The benchmarks of the trainer: their plumbing on small input, and the runs that they make."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest

pytest.importorskip("torch", reason="what it measures is the train extra's")

import torch

from benchmarks.aims import AIMS
from benchmarks.harness import ROOT, Line, Options, Report
from benchmarks.results import render
from benchmarks.trainer import quickstart
from benchmarks.trainer.__main__ import main as benchmarks_of_the_trainer
from benchmarks.trainer.cases import TRAINER_CASES
from benchmarks.trainer.made_run import EOD, VOCABULARY, draw_lengths, make_run
from benchmarks.trainer.shown_steps import IMAGE, micro_batch, shape_of
from dataflow.run import Run
from dataflow.shards import read_token_shard
from dataflow.store import Store
from mixtures.documents import walk
from mixtures.inventory import take_inventory
from mixtures.spec import Component
from trainer.stages.loading import load_model


def lines_of(name: str, scratch: Path) -> dict[str, Line]:
    """A smoke test of a benchmark: its lines by metric, none recorded."""
    case = TRAINER_CASES[name]
    report = Report(case.bench, sink=None, json_only=True)
    case.run(report, Options(scratch=scratch, quick=True))
    assert {line.bench for line in report.lines} == {case.bench}
    return {line.metric: line for line in report.lines}


def aims_of(name: str) -> set[str]:
    return {aim.metric for aim in AIMS if aim.bench == TRAINER_CASES[name].bench}


def test_plans(tmp_path: Path) -> None:
    found = lines_of("plan", tmp_path)
    small, large = "0.01M sequences", "0.02M sequences"
    for name in (small, large):
        for metric in (f"compile, {name}", f"plan[i], {name}", f"inverse of a document, {name}"):
            assert found[metric].value > 0
    disk = [found[f"plan on disk, {name}"].value for name in (small, large)]
    assert disk[0] < disk[1] < 2 * disk[0]
    ratio = found[f"interleaving, {small}"].ratio
    assert ratio is not None
    assert ratio > 1
    assert aims_of("plan") <= {metric.replace(small, "1M sequences") for metric in found}


@pytest.mark.long
def test_plans_over_many_documents(tmp_path: Path) -> None:
    found = lines_of("plan_scale", tmp_path)
    assert found["stream: sequences"].value == 800
    assert found["stream: fill"].value == 100
    assert 99 < found["whole: fill"].value < 100
    for packing in ("stream", "whole"):
        few = f"{packing}, one component, 64 MB together: range reads, steps of 2048 sequences"
        many = found[f"{packing}: range reads, steps of 2048 sequences"].value
        assert 0 < found[few].value < many < 1000
        assert found[f"{packing}: in order"].value > 0
    assert aims_of("plan_scale") <= set(found)


def test_reading(tmp_path: Path) -> None:
    found = lines_of("reading", tmp_path)
    for place in ("disk", "S3 on loopback"):
        name = f"{place}, steps of 20 ms"
        reads = [found[f"{place}, steps of {ms} ms: range reads a step"].value for ms in (20, 500)]
        assert 0 < reads[0] == reads[1] <= 16
        assert 0 <= found[f"{name}: waited, of the time"].value <= 100
        # 16 sequences of 8,192 ids of two bytes; what lies between two may be read too.
        assert found[f"{name}: read a step"].value >= 16 * 8192 * 2 / 1e6
    assert aims_of("reading") <= set(found)


@pytest.mark.long
def test_pictures(tmp_path: Path) -> None:
    found = lines_of("pictures", tmp_path)
    for name in ("2 tiles of images of 336²", "1 tile of images of 336²"):
        assert found[f"{name}: a second of one core"].value > 0
        assert 0 <= found[f"{name}: waited, beside steps twice as long"].value <= 100
    (name,) = {metric.rsplit(": ", 1)[0] for metric in found if "a step of launches" in metric}
    for who in ("threads", "processes"):
        assert found[f"{name}: a step beside {who}"].value > 0
        assert found[f"{name}: CPU of the trainer's own, {who}"].value > 0
    assert aims_of("pictures") <= {metric.replace("336", "672") for metric in found} | NEEDS_TILES


NEEDS_TILES = {f"{name}: cores that bring twice as many" for name in (
    "2 tiles of images of 336²", "5 tiles of images of 672²", "10 tiles of images of 1008²",
    "1 tile of images of 672²",
)}  # fmt: skip
"""Metrics of `pictures` that there are once `tiles` was recorded."""


@pytest.mark.long
def test_tiles() -> None:
    # In a process of its own: process groups are of the whole process.
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "benchmarks.trainer", "tiles",
            "--model", "tiny-vl", "--device", "cpu", "--quick", "--json",
        ],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [Line(**orjson.loads(row)) for row in done.stdout.splitlines() if row.startswith("{")]
    found = {line.metric: line for line in lines}
    for name in ("vl_stage2, 2 tiles", "vl_stage2, 5 tiles", "vl_stage1, 1 tile"):
        tokens = [one.value for one in lines if one.metric == f"tiny-vl, {name}: tokens"]
        assert tokens[0] > 0
        share = found[f"tiny-vl, {name}: of the FLOPs, tower and projector"].value
        assert 0 < share < 100
        # Nothing was learnt in two steps: the loss is that of a guess among 2,048.
        assert 7 < found[f"tiny-vl, {name}: loss, the last step"].value < 9


def test_tiles_need_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert benchmarks_of_the_trainer(["tiles", "--quick"]) == 2
    assert "benchmark tiles: found no CUDA GPU, expected one" in capsys.readouterr().err


@pytest.mark.parametrize(("tiles", "images"), [(2, 22), (5, 10), (10, 5)])
def test_made_steps_are_laid_out_as_batches_are(tiles: int, images: int) -> None:
    vision = load_model("400m-vl").vision
    assert vision is not None
    shape = shape_of(vision, "released28", tiles, 32_768, 1)
    assert (shape.images, len(shape.plan.tiles)) == (images, tiles)
    with pytest.raises(ValueError, match="tiling fixed336: found 1 tiles for a square"):
        shape_of(vision, "fixed336", tiles, 32_768, 1)
    batch = micro_batch(shape, vision, 1000, 0, pin=False)
    shown = batch.tokens == IMAGE
    assert batch.images is not None
    assert batch.images.tokens == int(shown.sum()) == images * shape.plan.tokens
    assert batch.images.places is not None
    assert torch.equal(batch.images.places, shown.nonzero().squeeze(1))
    assert len(batch.images.pixels) == shape.tiles == images * tiles
    assert int((batch.labels != -100).sum()) == shape.labels
    learnt = batch.labels != -100
    assert torch.equal(batch.labels[learnt], batch.tokens.roll(-1)[learnt])
    assert not (batch.labels == IMAGE).any()
    bounds = batch.cu_seqlens.tolist()
    assert [b - a for a, b in pairwise(bounds)] == shape.segments
    assert all(batch.labels[end - 1] == -100 for end in bounds[1:])
    assert batch.padding is None


@pytest.mark.long
def test_agreement(tmp_path: Path) -> None:
    # In a process of its own: process groups are of the whole process.
    script = (
        "from pathlib import Path; import sys\n"
        "from benchmarks.harness import Options, Report\n"
        "from benchmarks.trainer import agreement\n"
        "report = Report('trainer/agreement', sink=Path(sys.argv[1], 'lines'), json_only=True)\n"
        "agreement.run(report, Options(scratch=Path(sys.argv[1]), quick=True))\n"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    lines = [Line(**orjson.loads(row)) for row in (tmp_path / "lines").read_text().splitlines()]
    found = {line.metric: line for line in lines}
    assert found["weights changed on the way into ours and back"].value == 0
    assert aims_of("agreement") <= set(found)
    for aim in AIMS:
        if aim.bench == "trainer/agreement":
            assert aim.met(found[aim.metric]), found[aim.metric]


def test_quickstart_reads_what_a_run_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def train(options: Options, corpus: Path, name: str, words: list[str]) -> tuple[float, Path]:
        asked.append(words)
        for stage in quickstart.STAGES:
            folder = tmp_path / name / stage
            folder.mkdir(parents=True)
            with (folder / "metrics.jsonl").open("wb") as file:
                for step in range(1, 21):
                    line = {
                        "step": step, "tokens": step, "loss": 10.0 - step / 4, "grad_norm": 1.0,
                        "lr": 1e-3, "tokens_per_second": 1.0, "mfu": None, "dropped_tokens": 0,
                        "seconds": 2.0, "wait_seconds": 0.5,
                    }  # fmt: skip
                    file.write(orjson.dumps(line) + b"\n")
        return 12.5, tmp_path / name

    monkeypatch.setattr(quickstart, "_train", train)
    monkeypatch.setattr(quickstart, "_corpus", lambda _: tmp_path)
    report = Report("trainer/quickstart", sink=None, json_only=True)
    quickstart.run(report, Options(scratch=tmp_path))
    found = {line.metric: line.value for line in report.lines}
    assert asked == [["STAGE=text_8k"], ["STAGE=text_1m", "CHAIN=1"]]
    assert aims_of("quickstart") <= set(found)
    assert found["chain, text_512k: loss, mean of the first tenth of its steps"] == 9.625
    assert found["chain, text_512k: loss, mean of the last tenth"] == 5.125
    assert found["text_8k: waited for data, of its steps' time"] == 25


def test_a_failed_make_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    (tmp_path / "Makefile").write_text("train:\n\t@echo $(MODEL) on $(CORPUS); exit 3\n")
    with pytest.raises(quickstart.TrainingFailed, match=r"status 2; it said:\ntiny on .*bench-x"):
        quickstart._train(Options(scratch=tmp_path), tmp_path, "bench-x", ["STAGE=text_8k"])


@pytest.mark.parametrize("ids", [True, False])
def test_a_made_run_has_the_documents_that_its_index_names(tmp_path: Path, ids: bool) -> None:
    lengths = draw_lengths(300, 4096)
    store = Store(str(make_run(tmp_path / "run", lengths, shards=3, ids=ids)))
    run = Run.load(store)
    found = list(walk(run, ["tokens", "token_offset", "member", "split"]))
    assert np.array_equal(np.concatenate([shard.tokens for shard in found]), lengths)
    supply = take_inventory(run, 4096)
    for name in ("short", "medium", "long"):
        part = Component.model_validate({"name": name, "length": name, "weight": 1})
        assert supply.of(part, 4096)[1] > lengths.sum() / 10
    for shard in found:
        path = run.shards[shard.shard].tokenize.outputs["shard"].path
        assert (store.size(path) is not None) == ids
        if not ids:
            continue
        with store.stream(path) as stream:
            samples = list(read_token_shard(stream))
        places = [
            s.offset + s.ids.itemsize * int(s.offsets[i]) for s in samples for i in range(len(s))
        ]
        assert shard.column("token_offset").tolist() == places
        for sample in samples:
            assert (sample.ids[sample.offsets[1:] - 1] == EOD).all()
            assert sample.ids.max() < VOCABULARY


def test_the_page_has_a_section_of_each() -> None:
    lines = [
        line
        for case in TRAINER_CASES.values()
        for line in (
            Line(case.bench, "machine: Processor", 2, "cores", commit="abc"),
            Line(case.bench, "a metric", 3, "s", commit="abc"),
        )
    ]
    page = render(lines)
    for name in TRAINER_CASES:
        assert f"## trainer/{name}" in page
        assert f"Command: `python -m benchmarks.trainer {name}`, commit `abc`." in page
    assert "| one stage, make train STAGE=text_8k MODEL=tiny | at most 180 | | not" in page


def test_help_lists_every_benchmark() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.trainer", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(case.summary in done.stdout for case in TRAINER_CASES.values())
