"""A run as `build` makes it, on a disk and on an S3 server on loopback: batches and the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.trainer.loopback import loopback_bucket
from dataflow.store import Store
from dataflow.why import story
from mixtures.plan import Component, Piece, Plan, PlanSpec
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.errors import BadShard, DataError
from trainer.data.ledger import StepLedger
from trainer.data.origins import document_number

LENGTH = 256


@pytest.fixture(scope="module")
def run(built_run: Path) -> Path:
    return built_run


@pytest.fixture(scope="module")
def plan(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    components = (
        Component(name="rows", sources=("rows",), weight=2),
        Component(name="notes", sources=("notes",), weight=1),
    )
    spec = PlanSpec(length=LENGTH, tokens=LENGTH * 48, components=components)
    return Plan.compile(run, spec, out=tmp_path_factory.mktemp("plans"))


@pytest.fixture
def ledger(plan: Plan, tmp_path: Path) -> StepLedger:
    ledger = StepLedger(tmp_path / "steps.jsonl")
    for step in range(6):
        ledger.append(step, 8 * step, 8, plan, skipped=((9, 11), (100, 101)))
    return ledger


def test_the_ledger_says_what_was_in_a_step_and_where_it_came_from(
    run: Path, plan: Plan, ledger: StepLedger
) -> None:
    corpus = Corpus.open(run)
    for step in (0, 1):
        found = ledger.documents(step, plan, corpus)
        trained = [i for i in range(8 * step, 8 * step + 8) if i not in (9, 10)]
        assert [(i, piece) for i, piece, _ in found] == [
            (i, piece) for i in trained for piece in plan[i]
        ]
        for _, piece, origin in found[:4]:
            told = story(corpus.run, bytes.fromhex(origin.doc_id))
            assert told["document"]["uri"] == origin.uri
            assert told["document"]["source"] == origin.source == told["index"]["source"]
            assert told["index"]["tokens"] == int(plan.tokens(piece.document))
            assert document_number(corpus.run, origin.doc_id) == piece.document
    with pytest.raises(DataError, match="found no step 6, expected one of 0 to 5"):
        ledger.documents(6, plan, corpus)


def test_the_ledger_says_in_which_steps_a_document_was(plan: Plan, ledger: StepLedger) -> None:
    expected: dict[int, list[tuple[int, int, Piece]]] = {}
    for i, pieces in enumerate(plan):
        for piece in pieces:
            if i not in (9, 10):
                expected.setdefault(piece.document, []).append((i // 8, i, piece))
    assert any(len(found) > 1 for found in expected.values())
    for document in range(plan.documents):
        found = ledger.occurrences(document, plan)
        assert [(o.step, o.sequence, o.piece) for o in found] == sorted(expected.get(document, []))


def test_steps_that_come_again_take_back_the_old_ones(plan: Plan, ledger: StepLedger) -> None:
    ledger.append(3, 24, 16, plan)
    again = StepLedger(ledger.path)
    assert len(again) == len(ledger) == 4
    assert (again[3].first, again[3].sequences) == (24, 16)
    assert again[1].skipped == ((9, 11),)
    for document in range(plan.documents):
        assert again.occurrences(document, plan) == ledger.occurrences(document, plan)


def test_a_line_that_a_crash_cut_does_not_count_and_a_wrong_one_is_an_error(
    plan: Plan, ledger: StepLedger
) -> None:
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-5])
    again = StepLedger(ledger.path)
    assert len(again) == 5
    again.append(5, 40, 8, plan)
    assert ledger.path.read_bytes() == whole
    ledger.path.write_bytes(whole.replace(b'"first":16', b'"frist":16'))
    with pytest.raises(DataError, match=r"steps\.jsonl: line 3 is not a step"):
        StepLedger(ledger.path)


@pytest.fixture(scope="module")
def remote(run: Path) -> Iterator[Store]:
    """The run, copied to a bucket."""
    with loopback_bucket() as bucket:
        yield Store(bucket.upload(run, "run"), bucket.options)


def test_a_run_on_s3_gives_the_same_plan_and_batches(
    run: Path, remote: Store, plan: Plan, tmp_path: Path
) -> None:
    away = Plan.compile(remote, plan.spec, out=tmp_path)
    assert away.hash == plan.hash
    corpora = [Corpus.open(run), Corpus.open(remote)]
    with Batches(plan, corpora[0]) as here, Batches(away, corpora[1]) as there:
        for first in (0, 16, 32):
            for a, b in zip(here.step(first, 16), there.step(first, 16), strict=True):
                assert torch.equal(a.tokens, b.tokens)
                assert torch.equal(a.labels, b.labels)
                assert torch.equal(a.cu_seqlens, b.cu_seqlens)
        assert there.corpus.range_reads <= 6 * len(corpora[1].run.shards)
    ledger = StepLedger(tmp_path / "steps.jsonl")
    ledger.append(0, 0, 4, plan)
    assert ledger.documents(0, plan, corpora[0]) == ledger.documents(0, away, corpora[1])
    remote.delete(corpora[1].path(0))
    with (
        Batches(away, Corpus.open(remote)) as batches,
        pytest.raises(BadShard, match=r"s3://corpora/run/.*train-000000\.tar: is not there"),
    ):
        batches.step(0, 48)
