"""Batches against the shards themselves; the same ones for any ranks, through kills and damage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataflow.shards import read_token_shard
from mixtures.plan import Component, Plan, PlanSpec
from tests.mixtures.made_runs import EOD, Made, make_run
from trainer.data.batches import (
    CHECKED_STEPS,
    IGNORED,
    NO_DOCUMENT,
    Batches,
    MicroBatch,
)
from trainer.data.corpus import Corpus, Verify
from trainer.data.errors import BadShard, DataError
from trainer.data.state import DataState, merge_ranges

LENGTH = 48
DOCUMENTS = [Made("web", 3 + i * 31 % 150, "heldout" if i % 8 == 3 else "train") for i in range(90)]


def make(folder: Path, **options: Any) -> Path:
    make_run(folder, DOCUMENTS, shard_documents=20, sample_documents=4, **options)
    return folder


def plan_of(run: Path, out: Path, seed: int = 3) -> Plan:
    components = (
        Component(name="short", length="short", weight=1),
        Component(name="others", length="medium", weight=3),
    )
    spec = PlanSpec(length=LENGTH, tokens=LENGTH * 96, seed=seed, l1=160, components=components)
    return Plan.compile(run, spec, out=out)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make(tmp_path / "run")


@pytest.fixture
def plan(run: Path, tmp_path: Path) -> Plan:
    return plan_of(run, tmp_path / "plans")


@pytest.fixture
def open_batches(run: Path, plan: Plan) -> Iterator[Callable[..., Batches]]:
    opened: list[Batches] = []

    def make_batches(*, verify: Verify = "hash", **options: Any) -> Batches:
        opened.append(Batches(plan, Corpus.open(run, verify=verify), **options))
        return opened[-1]

    yield make_batches
    for batches in opened:
        batches.close()
        batches.corpus.close()


def documents_of(corpus: Corpus) -> list[np.ndarray]:
    """Every document's ids by number, read shard by shard."""
    found = []
    for shard in range(len(corpus.run.shards)):
        with corpus.run.store.stream(corpus.path(shard)) as stream:
            for sample in read_token_shard(stream):
                found += [sample.document(i) for i in range(len(sample))]
    return found


def equal(a: MicroBatch, b: MicroBatch) -> bool:
    names = ("tokens", "labels", "cu_seqlens", "documents", "token_starts")
    return (
        all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)
        and (a.first_sequence, a.sequences) == (b.first_sequence, b.sequences)
        and (a.max_seqlen, a.skipped) == (b.max_seqlen, b.skipped)
    )


def all_equal(a: list[MicroBatch], b: list[MicroBatch]) -> bool:
    return len(a) == len(b) and all(map(equal, a, b))


def test_segments_are_the_plans_pieces_and_labels_the_next_tokens(
    open_batches: Callable[..., Batches],
) -> None:
    batches = open_batches(micro_batch_sequences=3)
    ids = documents_of(batches.corpus)
    ends = 0
    for first in range(0, 96, 12):
        for micro in batches.step(first, 12):
            assert micro.tokens.dtype == micro.labels.dtype == torch.int64
            assert micro.cu_seqlens.dtype == torch.int32
            assert micro.tokens.shape == micro.labels.shape == (3 * LENGTH,)
            bounds = micro.cu_seqlens.tolist()
            assert set(range(0, 3 * LENGTH + 1, LENGTH)) <= set(bounds)
            assert micro.max_seqlen == max(np.diff(bounds))
            pieces = [
                piece
                for i in range(micro.first_sequence, micro.first_sequence + 3)
                for piece in batches.plan[i]
            ]
            assert micro.documents.tolist() == [piece.document for piece in pieces]
            assert micro.token_starts.tolist() == [piece.token_start for piece in pieces]
            for piece, start, stop in zip(pieces, bounds[:-1], bounds[1:], strict=True):
                whole = ids[piece.document]
                end = piece.token_start + piece.token_length
                assert micro.tokens[start:stop].tolist() == whole[piece.token_start : end].tolist()
                following = [*whole[1:].tolist(), IGNORED]
                assert micro.labels[start:stop].tolist() == following[piece.token_start : end]
                if end == len(whole):
                    ends += 1
                    assert micro.tokens[stop - 1] == EOD
                    assert micro.labels[stop - 1] == IGNORED
    assert ends > 20


@pytest.mark.parametrize(("dp_size", "size"), [(2, 2), (4, 2), (2, 1), (8, 1)])
def test_the_global_batch_is_the_same_for_any_number_of_ranks(
    open_batches: Callable[..., Batches], dp_size: int, size: int
) -> None:
    alone = open_batches(micro_batch_sequences=size).step(16, 16)
    together: list[MicroBatch] = []
    for rank in range(dp_size):
        batches = open_batches(dp_rank=rank, dp_size=dp_size, micro_batch_sequences=size)
        mine = batches.step(16, 16)
        assert len(mine) == 16 // size // dp_size
        together += mine
    assert all_equal(alone, together)


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_a_killed_run_goes_on_with_other_ranks_bit_for_bit(
    open_batches: Callable[..., Batches], killed_after: int
) -> None:
    steady = open_batches(micro_batch_sequences=2)
    expected = [steady.step(first, 8) for first in range(0, 96, 8)]
    two = [open_batches(dp_rank=r, dp_size=2, micro_batch_sequences=2) for r in range(2)]
    for step in range(killed_after):
        parts = [micro for rank in two for micro in rank.step(8 * step, 8)]
        assert all_equal(parts, expected[step])
    state = DataState.merged(rank.state() for rank in two).as_json()
    assert state == {"plan": two[0].plan.hash, "next": 8 * killed_after, "skipped": []}
    four = [open_batches(dp_rank=r, dp_size=4, micro_batch_sequences=2) for r in range(4)]
    first = {rank.restore(state) for rank in four}.pop()
    for step in range(killed_after, 12):
        parts = [micro for rank in four for micro in rank.step(first, 8)]
        assert all_equal(parts, expected[step])
        first += 8


def test_a_changed_document_changes_no_other_segment(
    open_batches: Callable[..., Batches], plan: Plan, tmp_path: Path
) -> None:
    order = make_run(tmp_path / "again", DOCUMENTS, shard_documents=20, sample_documents=4)
    changed = plan[40][0].document
    other = make(tmp_path / "changed", versions={order[changed]: 1})
    before = open_batches().step(0, 96)
    with Batches(plan, Corpus.open(other)) as batches:
        after = batches.step(0, 96)
    seen = 0
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a.cu_seqlens, b.cu_seqlens)
        assert torch.equal(a.documents, b.documents)
        bounds = a.cu_seqlens.tolist()
        for document, start, stop in zip(a.documents.tolist(), bounds, bounds[1:], strict=False):
            same = torch.equal(a.tokens[start:stop], b.tokens[start:stop])
            labels = torch.equal(a.labels[start:stop], b.labels[start:stop])
            if document == changed:
                seen += 1
                assert stop - start < 2 or not (same and labels)
            else:
                assert same
                assert labels
    assert seen


def test_the_next_step_is_read_before_it_is_asked_for(
    open_batches: Callable[..., Batches], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_batches(micro_batch_sequences=4).step(8, 16)
    batches = open_batches(micro_batch_sequences=4, ahead=1, sequences_at=lambda _: 16)
    batches.step(0, 8)
    wait(list(batches._coming.values()), timeout=60)

    def fail(_: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(batches.corpus, "read", fail)
    assert all_equal(batches.step(8, 16), expected)


def test_a_step_is_a_few_reads(open_batches: Callable[..., Batches]) -> None:
    batches = open_batches(ahead=0)
    pieces = sum(len(micro.documents) for micro in batches.step(0, 24))
    # The whole corpus is a few kilobytes, so a shard is one read.
    assert batches.corpus.range_reads <= len(batches.corpus.run.shards) < pieces / 5


def test_waiting_for_data_is_counted(open_batches: Callable[..., Batches]) -> None:
    batches = open_batches(ahead=0, clock=iter([10.0, 12.5, 20.0, 20.25]).__next__)
    batches.step(0, 8)
    assert batches.waited_seconds == batches.last_wait_seconds == 2.5
    batches.step(8, 8)
    assert (batches.waited_seconds, batches.last_wait_seconds) == (2.75, 0.25)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        middle = 512 + 128 + 20
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])


@pytest.mark.parametrize(
    ("how", "message"), [("gone", "is not there"), ("cut", "expected"), ("flipped", "BLAKE3")]
)
def test_a_bad_shard_stops_the_run_or_is_skipped_and_said(
    open_batches: Callable[..., Batches],
    run: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
    message: str,
) -> None:
    expected = open_batches().step(0, 96)
    stopping = open_batches()
    path = run / stopping.corpus.path(1)
    damage(path, how)
    with pytest.raises(BadShard, match=rf"train-000001\.tar: .*{message}.*--on-bad-shard skip"):
        stopping.step(0, 96)
    assert stopping.state()["next"] == 0
    skipping = [open_batches(dp_rank=r, dp_size=2, on_bad_shard="skip", ahead=0) for r in range(2)]
    with caplog.at_level(logging.WARNING):
        parts = [micro for rank in skipping for micro in rank.step(0, 96)]
    plan = stopping.plan
    lost = [
        i for i in range(96) if 1 in plan.places([piece.document for piece in plan[i]])[0].tolist()
    ]
    assert 0 < len(lost) < 96
    for i, (micro, whole) in enumerate(zip(parts, expected, strict=True)):
        if i in lost:
            assert micro.skipped == (i,)
            assert set(micro.labels.tolist()) == {IGNORED}
            assert micro.documents.tolist() == [NO_DOCUMENT]
            assert micro.cu_seqlens.tolist() == [0, LENGTH]
        else:
            assert equal(micro, whole)
    assert len(caplog.records) == len(lost)
    assert "train-000001.tar" in caplog.text
    state = DataState.merged(rank.state() for rank in skipping)
    assert state.skipped == merge_ranges((i, i + 1) for i in lost)
    # What was skipped stays skipped when an older step is run again, the shard back or not.
    path.write_bytes(make_bytes(run, path))
    resumed = open_batches()
    resumed.restore({**state.as_json(), "next": 0})
    assert all_equal(resumed.step(0, 96), parts)


def make_bytes(run: Path, path: Path) -> bytes:
    """The bytes that a shard had before it was damaged."""
    again = make(run.parent / "whole")
    return (again / path.relative_to(run)).read_bytes()


def test_without_hashes_ids_that_cannot_be_are_noticed(
    open_batches: Callable[..., Batches], run: Path
) -> None:
    batches = open_batches(verify="size")
    path = run / batches.corpus.path(0)
    data = bytearray(path.read_bytes())
    data[640 : 640 + 2 * 60] = b"\xff" * 120
    path.write_bytes(data)
    with pytest.raises(BadShard, match=r"has id 65535, expected ids below 512"):
        batches.step(0, 96)


def test_a_shard_cut_while_it_is_read_is_noticed(
    open_batches: Callable[..., Batches], run: Path
) -> None:
    batches = open_batches(ahead=0)
    batches.step(0, 48)
    for shard in range(4):
        with (run / batches.corpus.path(shard)).open("r+b") as file:
            file.truncate(700)
    with pytest.raises(BadShard, match=r"found \d+ bytes at \d+, expected \d+"):
        batches.step(48, 48)


def test_another_tokenizer_or_corpus_is_an_error_that_says_what_to_run(
    run: Path, plan: Plan, tmp_path: Path
) -> None:
    other = make(tmp_path / "other", tokenizer="0dd")
    with pytest.raises(DataError, match=rf"python -m dataflow retokenize {other} --tokenizer"):
        Batches(plan, Corpus.open(other))
    with pytest.raises(DataError, match="python -m dataflow retokenize"):
        Corpus.open(run, tokenizer="0dd")
    make_run(tmp_path / "less", DOCUMENTS[:50])
    with pytest.raises(DataError, match="compile the plan again"):
        Batches(plan, Corpus.open(tmp_path / "less"))


def test_a_state_of_another_plan_is_refused(
    open_batches: Callable[..., Batches], run: Path, tmp_path: Path
) -> None:
    batches = open_batches()
    with Batches(plan_of(run, tmp_path / "plans", seed=4), batches.corpus) as other:
        state = other.state()
    with pytest.raises(DataError, match="the data state is of plan"):
        batches.restore(state)
    with pytest.raises(DataError, match="of 2 places"):
        DataState.merged([state, batches.state()])


def test_steps_that_cannot_be_dealt_out_are_refused(open_batches: Callable[..., Batches]) -> None:
    batches = open_batches(dp_size=2, micro_batch_sequences=3)
    with pytest.raises(DataError, match="found a step of 8 sequences, expected a multiple of 6"):
        batches.step(0, 8)
    with pytest.raises(DataError, match="the stage's token budget ends there"):
        batches.step(96, 6)
    with pytest.raises(DataError, match="expected 0 to 1"):
        open_batches(dp_rank=2, dp_size=2)


def test_shards_are_looked_at_before_the_step_that_reads_them(
    open_batches: Callable[..., Batches], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing a whole shard takes long: the first step begins it for those of later steps."""
    batches = open_batches(ahead=0, sequences_at=lambda _: 1)
    plan, looked = batches.plan, list[int]()
    check = batches.corpus._check

    def remember(shard: int) -> None:
        looked.append(shard)
        check(shard)

    monkeypatch.setattr(batches.corpus, "_check", remember)
    batches.step(0, 1)
    wait(batches.corpus.checks.begun, timeout=60)
    needed = [
        shard
        for i in range(1 + CHECKED_STEPS)
        for shard in plan.places([piece.document for piece in plan[i]])[0].tolist()
    ]
    own = {*plan.places([piece.document for piece in plan[0]])[0].tolist()}
    assert set(needed) > own
    assert set(looked) == set(needed)
    assert len(looked) == len(set(looked))  # and each only once
    for first in range(1, 96):
        batches.step(first, 1)
    assert len(looked) == len(set(looked))


def test_a_corpus_that_is_closed_leaves_off_hashing(run: Path) -> None:
    corpus = Corpus.open(run)
    corpus.close()
    corpus._check(0)
    assert not corpus._bad
    assert not corpus._spans
