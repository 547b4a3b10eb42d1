"""The images of documents in batches: their places, labels and pixels, and what damage does."""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import wait
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch

from benchmarks.trainer.loopback import loopback_bucket
from dataflow.run import Run
from dataflow.shards import read_token_shard
from dataflow.store import Store
from mixtures.plan import Component, Plan, PlanSpec
from trainer.data import batches as batches_
from trainer.data import content
from trainer.data.batches import IGNORED, Batches
from trainer.data.corpus import Corpus
from trainer.data.errors import BadShard, DataError
from trainer.data.hashing import hash_of
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
    return Plan.compile(str(run), spec, out=folder)


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
                assert batch.images.pixels.dtype == torch.uint8
                expected_pixels = torch.from_numpy(np.concatenate(tiles))
                assert torch.equal(batch.images.normalised(), expected_pixels)
                assert batch.images.places is not None
                assert batch.images.places.tolist() == [
                    place for place, one in enumerate(batch.tokens.tolist()) if one == token
                ]
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


def test_content_shards_are_looked_at_ahead_and_once(
    shown_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of images in later steps too, while the first is trained; no other is opened."""
    hashed: list[str] = []

    def remember(store: Store, path: str, closed: Event) -> str:
        hashed.append(path)
        return hash_of(store, path, closed)

    monkeypatch.setattr(content, "hash_of", remember)
    plan = _plan(shown_run, tmp_path)
    with Corpus.open(shown_run) as corpus, Batches(plan, corpus, ahead=0) as batches:
        batches.step(0, 1)
        wait(corpus.checks.begun, timeout=60)
        shown = {p.document for sequence in plan for p in sequence}
        pictured = [d for d in shown if plan.lengths([d]) != plan.tokens([d])]
        shards = {int(shard) for shard in plan.places(sorted(pictured))[0]}
        paths = {corpus.run.shards[shard].pack.outputs["shard"].path for shard in shards}
        assert set(hashed) == paths
        for first in range(1, SEQUENCES):
            batches.step(first, 1)
        assert len(hashed) == len(paths)


def test_a_rank_that_shows_none_has_the_same_places(shown_run: Path, tmp_path: Path) -> None:
    """It opens no content shard: not one is there."""
    folder = tmp_path / "without"
    shutil.copytree(shown_run, folder)
    plan = _plan(folder, tmp_path / "plans")
    with Corpus.open(folder) as corpus, Batches(plan, corpus) as batches:
        expected = batches.step(0, SEQUENCES)
    for path in (folder / "shards" / "content").glob("*-vl-*.tar"):
        path.unlink()
    with Corpus.open(folder) as corpus, Batches(plan, corpus, shows=False) as batches:
        found = batches.step(0, SEQUENCES)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.images is None
        assert torch.equal(mine.tokens, theirs.tokens)
        assert torch.equal(mine.labels, theirs.labels)
        assert torch.equal(mine.cu_seqlens, theirs.cu_seqlens)
    with (
        Corpus.open(folder) as corpus,
        Batches(plan, corpus) as batches,
        pytest.raises(BadShard, match=r"-vl-000000\.tar is not there"),
    ):
        batches.step(0, SEQUENCES)


@pytest.mark.long
def test_a_run_on_s3_gives_the_same_images(shown_run: Path, tmp_path: Path) -> None:
    with loopback_bucket() as bucket:
        remote = Store(bucket.upload(shown_run, "run"), bucket.options)
        here = _plan(shown_run, tmp_path / "here")
        there = Plan.compile(remote, here.spec, out=tmp_path / "there")
        assert there.hash == here.hash
        found = []
        for plan, where in ((here, shown_run), (there, remote)):
            with Corpus.open(where) as corpus, Batches(plan, corpus) as batches:
                found.append(batches.step(0, SEQUENCES))
    shown = 0
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine.tokens, theirs.tokens)
        assert (mine.images is None) == (theirs.images is None)
        if mine.images is not None and theirs.images is not None:
            shown += 1
            assert mine.images.plans == theirs.images.plans
            assert torch.equal(mine.images.pixels, theirs.images.pixels)
    assert shown > 4


def test_few_steps_are_read_ahead_where_images_are_large(
    shown_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(shown_run, tmp_path)
    for most, expected in ((1 << 30, 6), (1, 1)):
        monkeypatch.setattr(batches_, "AHEAD_BYTES", most)
        with Corpus.open(shown_run) as corpus, Batches(plan, corpus, ahead=6) as batches:
            (found,) = batches.step(0, 1)
            assert len(batches._coming) == expected
            assert found.images is not None
            features = found.images.tokens - len(found.images.plans)
            assert batches._picture_bytes(0, 1) == features * 14 * 14 * 3
            step = batches._load(0, 1)
            # Tiles are kept once, though a step can be put together anew without a sequence.
            pictures = [one for ids in step.read[0] for one in ids.pictures]
            (again,) = step.micro_batches
            assert again.images is not None
            pixels = again.images.pixels.numpy()
            assert all(np.shares_memory(one.tiles, pixels) for one in pictures)
            tiles = np.concatenate([one.tiles for one in pictures])
            assert np.array_equal(tiles, found.images.pixels.numpy())


def test_any_number_of_decoders_gives_the_same(shown_run: Path) -> None:
    with Corpus.open(shown_run) as corpus:
        rows = [
            (number, row)
            for number, shard in enumerate(corpus.run.shards)
            for row, images in enumerate(
                corpus.run.table(shard.tokenize, "index", ["images"])["images"].to_pylist()
            )
            if images
        ][:20]
        found = []
        for decoders, processes in ((1, False), (3, False), (1, True), (2, True)):
            with Pictures(corpus, "tiny56", decoders=decoders, processes=processes) as pictures:
                coming = pictures.begin(rows)
                found.append([one for ready in coming for one in ready()])
    for first, *others in zip(*found, strict=True):
        for other in others:
            assert first.plan == other.plan
            assert np.array_equal(first.tiles, other.tiles)


def test_a_tokenizer_without_images_is_refused(shown_run: Path) -> None:
    with Corpus.open(shown_run) as corpus:
        stats = corpus.run.tokenizer.stats
        specials = stats["specials"]
        stats["specials"] = {role: one for role, one in specials.items() if role != "image"}
        with pytest.raises(DataError, match="expected one of role 'image'"):
            Pictures(corpus, "tiny56")
