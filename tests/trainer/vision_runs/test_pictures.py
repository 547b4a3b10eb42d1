"""The images of documents in batches: their places, labels and pixels, and what damage does."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dataflow.run import Run
from dataflow.shards import read_token_shard
from dataflow.store import Store
from mixtures.plan import Component, Plan, PlanSpec
from trainer.data.batches import IGNORED, Batches
from trainer.data.corpus import Corpus
from trainer.data.errors import BadShard, DataError
from trainer.data.pictures import Pictures, expand, image_token_of
from vl_data.decode import decode
from vl_data.pixels import tile_pixels
from vl_data.tiling import plan as tiled

LENGTH, SEQUENCES = 256, 16
SOURCES = ("descriptions", "text")


def _plan(run: Path, folder: Path) -> Plan:
    components = tuple(
        Component(name=name, sources=(name,), weight=1, epochs=4) for name in SOURCES
    )
    spec = PlanSpec(
        length=LENGTH, tokens=SEQUENCES * LENGTH, seed=1, l1=1 << 17, components=components,
        packing="whole", tiling="tiny56",
    )  # fmt: skip
    return Plan.compile(str(run), spec, folder)


def test_an_image_takes_its_places_and_is_never_learnt() -> None:
    ids = np.array([7, 9, 5, 9, 6], np.uint16)
    found = expand(ids, None, [3, 1], 9)
    assert found.ids.tolist() == [7, 9, 9, 9, 5, 9, 6]
    assert found.carries.tolist() == [False, False, False, True, False, True]
    carries = np.array([True, False, True, True])
    assert expand(ids, carries, [2, 2], 9).carries.tolist() == [
        False, False, False, False, False, True,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"found 2 ids of images, expected 1"):
        expand(ids, None, [3], 9)


def test_batches_show_the_images_of_their_documents(shown_run: Path, tmp_path: Path) -> None:
    plan, run = _plan(shown_run, tmp_path), Run.load(Store(str(shown_run)))
    token = image_token_of(run)
    stored = _stored(run)
    seen = texts = 0
    with (
        Corpus.open(shown_run) as corpus,
        Batches(plan, corpus, micro_batch_sequences=4) as batches,
    ):
        for batch in batches.step(0, SEQUENCES):
            tiles = []
            bounds = batch.cu_seqlens.tolist()
            for number, first, end in zip(
                batch.documents.tolist(), bounds, bounds[1:], strict=False
            ):
                if number < 0:
                    continue
                ids, carries, images = stored[number]
                plans = [tiled(i.shape[1], i.shape[0], "tiny56") for i in images]
                tiles += [tile_pixels(i, p) for i, p in zip(images, plans, strict=True)]
                if not images:
                    texts += 1
                    continue
                # The rule by hand: one id after the other, an image's as often as it has features.
                laid, learnt, left = [], [], iter(plans)
                for place, one in enumerate(ids):
                    times = next(left).tokens if one == token else 1
                    laid += [one] * times
                    learnt += [one != token and place in carries] * times
                assert batch.tokens[first:end].tolist() == laid
                expected = [
                    one if learns else IGNORED
                    for one, learns in zip(laid[1:], learnt[1:], strict=True)
                ]
                assert batch.labels[first:end].tolist() == [*expected, IGNORED]
                assert any(learnt)
                seen += 1
            shown = 0 if batch.images is None else batch.images.tokens
            assert int((batch.tokens == token).sum()) == shown
            assert not (batch.labels == token).any()
            assert (batch.images is not None) == bool(tiles)
            if batch.images is not None:
                expected_pixels = torch.from_numpy(np.concatenate(tiles))
                assert torch.equal(batch.images.pixels, expected_pixels)
    assert seen > 8
    assert texts > 2


def _stored(run: Run) -> list[tuple[list[int], set[int], list[np.ndarray]]]:
    """By document: its ids, the places of those that carry loss, its images decoded."""
    found = []
    for shard in run.shards:
        images = []
        tar = run.store.read(shard.pack.outputs["shard"].path)
        for row in run.table(shard.tokenize, "index").to_pylist():
            parts = [(i["offset"], i["offset"] + i["bytes"]) for i in row["images"]]
            images.append([decode(tar[first:end]) for first, end in parts])
        rest = iter(images)
        with run.store.stream(shard.tokenize.outputs["shard"].path) as file:
            for sample in read_token_shard(file):
                for number, (first, end) in enumerate(
                    zip(sample.offsets, sample.offsets[1:], strict=False)
                ):
                    spans = sample.spans[sample.spans[:, 0] == number, 1:].tolist()
                    places = {p for a, b in spans for p in range(a, b)}
                    if not spans:
                        places = set(range(int(end - first)))
                    found.append((sample.ids[first:end].tolist(), places, next(rest)))
    return found


def test_a_damaged_image_stops_the_run_or_costs_its_sequence(
    shown_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(shown_run, folder)
    plan, run = _plan(folder, tmp_path / "plans"), Run.load(Store(str(folder)))
    documents = np.array([piece.document for sequence in plan for piece in sequence])
    document = int(documents[plan.lengths(documents) != plan.tokens(documents)][0])
    number = int(plan.places([document])[0][0])
    row = document - plan.first_document(number)
    shard = run.shards[number]
    image = run.table(shard.tokenize, "index")["images"][row][0].as_py()
    with (folder / shard.pack.outputs["shard"].path).open("r+b") as file:
        file.seek(image["offset"])
        file.write(b"\xff" * image["bytes"])
    hit = tuple(sorted({i for i, _ in plan.inverse(document)}))
    assert 0 < len(hit) < SEQUENCES / 2
    # By size alone only the image itself can tell, and the sequences without it go on.
    with Corpus.open(folder, verify="size") as corpus:
        with Batches(plan, corpus) as batches, pytest.raises(BadShard, match=f"0 of row {row}"):
            batches.step(0, SEQUENCES)
        with Batches(plan, corpus, on_bad_shard="skip") as batches:
            with caplog.at_level(logging.WARNING):
                found = batches.step(0, SEQUENCES)
            assert tuple(i for batch in found for i in batch.skipped) == hit
            assert all((found[i].labels == IGNORED).all() and found[i].images is None for i in hit)
    assert "image-format" in caplog.text
    # By its hash the shard is bad as a whole.
    with (
        Corpus.open(folder) as corpus,
        Batches(plan, corpus) as batches,
        pytest.raises(BadShard, match="found BLAKE3"),
    ):
        batches.step(0, SEQUENCES)


def test_a_tokenizer_without_images_is_refused(shown_run: Path) -> None:
    run = Run.load(Store(str(shown_run)))
    specials = run.tokenizer.stats["specials"]
    without = {role: one for role, one in specials.items() if role != "image"}
    run.tokenizer.stats["specials"] = without
    with pytest.raises(DataError, match="expected one of role 'image'"):
        Pictures(run, "tiny56")
