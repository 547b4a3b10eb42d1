"""Plans over runs made by hand: nothing lost, nothing twice, the same for everyone."""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflow.run import Run, RunError
from dataflow.store import Store
from mixtures.compiling import compile_plan
from mixtures.documents import walk
from mixtures.inventory import take_inventory
from mixtures.lengths import LengthClass, bounds
from mixtures.plan import (
    Component,
    LateMixture,
    Piece,
    Plan,
    PlanError,
    PlanRefused,
    PlanSpec,
    Transition,
)
from mixtures.spec import Packing
from tests.mixtures.made_runs import Made, make_run


def class_of(tokens: int, l1: int) -> str:
    if 4 * tokens < l1:
        return "short"
    return "medium" if tokens <= l1 else "long"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


DOCUMENTS = st.lists(
    st.builds(
        Made,
        source=st.sampled_from(["web", "code", "books"]),
        tokens=st.one_of(st.integers(1, 20), st.integers(1, 300)),
        split=st.sampled_from(["train", "train", "train", "heldout"]),
    ),
    min_size=1,
    max_size=40,
)

MIXTURES: list[tuple[dict[str, Any], ...]] = [
    ({},),
    ({"length": "short"}, {"length": "medium"}, {"length": "long"}),
    ({"sources": ("web",)}, {"sources": ("code", "books")}),
    ({"length": "short", "sources": ("web",)}, {"length": "medium"}),
    ({"length": "long", "except_sources": ("code", "mail")}, {"sources": ("code",)}),
]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_plan_loses_no_token_and_repeats_none_within_an_epoch(data: st.DataObject) -> None:
    documents = data.draw(DOCUMENTS)
    l1 = data.draw(st.sampled_from([8, 30, 64]))
    filters = data.draw(st.sampled_from(MIXTURES))
    present = {d.source for d in documents if d.split == "train"}

    def matches(document: Made, one: dict[str, Any]) -> bool:
        return (
            document.split == "train"
            and one.get("length") in (None, class_of(document.tokens, l1))
            and document.source in one.get("sources", (document.source,))
            and document.source not in one.get("except_sources", ())
        )

    filters = tuple(
        one
        for one in filters
        if present >= set(one.get("sources", ())) and any(matches(d, one) for d in documents)
    )
    if not filters:
        return
    supply = [sum(d.tokens for d in documents if matches(d, one)) for one in filters]
    # Weights in proportion to what there is, and epochs for all of it: a budget that always fits.
    weights = data.draw(st.lists(st.integers(1, 3), min_size=len(supply), max_size=len(supply)))
    length = data.draw(st.integers(1, 40))
    tokens = data.draw(st.integers(length, max(length, 2 * sum(supply))))
    spec = PlanSpec(
        length=length,
        tokens=tokens,
        seed=data.draw(st.integers(0, 2**64 - 1)),
        l1=l1,
        components=tuple(
            Component(name=f"c{i}", weight=w * s, epochs=1 + (tokens + length) // s, **one)
            for i, (one, w, s) in enumerate(zip(filters, weights, supply, strict=True))
        ),
    )
    with tempfile.TemporaryDirectory() as scratch:
        order = make_run(Path(scratch) / "run", documents)
        plan = Plan.compile(Path(scratch) / "run", spec, out=Path(scratch) / "plans")
        assert len(plan) == tokens // length
        numbered = [documents[place] for place in order]
        where: dict[int, list[tuple[int, Piece]]] = defaultdict(list)
        streams: dict[str, list[Piece]] = defaultdict(list)
        drawn: Counter[str] = Counter()
        total = sum(spec.weights)
        for i, pieces in enumerate(plan):
            assert sum(piece.token_length for piece in pieces) == length
            assert all(piece.token_length > 0 for piece in pieces)
            streams[plan.component(i)] += pieces
            drawn[plan.component(i)] += length
            for component in spec.components:
                exact = Fraction(component.weight * (i + 1) * length, total)
                assert abs(drawn[component.name] - exact) < length
            for piece in pieces:
                where[piece.document].append((i, piece))
        for component, one in zip(spec.components, filters, strict=True):
            mine = {n for n, document in enumerate(numbered) if matches(document, one)}
            _check_epochs(streams[component.name], mine, numbered)
        for document in range(len(numbered)):
            assert plan.inverse(document) == sorted(where[document])


def _check_epochs(pieces: Sequence[Piece], mine: set[int], documents: Sequence[Made]) -> None:
    """Documents follow each other whole; each comes once before any comes again."""
    epoch: set[int] = set()
    expected = None
    for piece in pieces:
        if expected is None:
            assert piece.token_start == 0
            if epoch == mine:
                epoch = set()
            assert piece.document in mine - epoch
            epoch.add(piece.document)
        else:
            assert (piece.document, piece.token_start) == expected
        end = piece.token_start + piece.token_length
        size = documents[piece.document].tokens
        assert end <= size
        expected = (piece.document, end) if end < size else None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 documents, 100 of each class at L1 = 128; none of class long at L1 = 256."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    lengths = [(5 + i % 26, 32 + i * 7 % 96, 129 + i * 7 % 72) for i in range(100)]
    documents = [
        Made("web" if i % 2 else "code", tokens, "heldout" if i % 10 == 4 else "train")
        for i, tokens in enumerate(tokens for three in lengths for tokens in three)
    ]
    make_run(folder, documents)
    return folder


def by_length(weights: Sequence[int], **others: Any) -> tuple[Component, ...]:
    names: tuple[LengthClass, ...] = ("short", "medium", "long")
    return tuple(
        Component(name=name, length=name, weight=weight, **others)
        for name, weight in zip(names, weights, strict=True)
    )


def spec_of(**changes: Any) -> PlanSpec:
    values = {
        "length": 32,
        "tokens": 6400,
        "seed": 5,
        "l1": 128,
        "components": by_length((3, 5, 2)),
    }
    return PlanSpec(**{**values, **changes})


def test_the_same_bytes_however_it_is_sorted_and_wherever_it_lies(
    run: Path, tmp_path: Path
) -> None:
    plan = Plan.compile(run, spec_of(), out=tmp_path / "one")
    copy = tmp_path / "elsewhere"
    for path in run.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    # 2 kB hold some of the entries only: they are spilled and merged.
    again = compile_plan(Run.load(Store(str(copy))), spec_of(), tmp_path / "two", sort_bytes=2048)
    assert contents(again) == contents(plan.folder)
    assert Plan.open(again).hash == plan.hash
    assert Plan.compile(run, spec_of(), out=tmp_path / "one").folder == plan.folder
    assert [p.name for p in (tmp_path / "one").iterdir()] == [plan.folder.name]


def test_seeds_and_epochs_have_orders_of_their_own(run: Path, tmp_path: Path) -> None:
    supply = take_inventory(Run.load(Store(str(run))), 128).tokens.sum()
    spec = spec_of(components=(Component(name="all", weight=1),), tokens=int(supply) * 3 // 2)
    plan = Plan.compile(run, spec, out=tmp_path)
    other = Plan.compile(run, spec.model_copy(update={"seed": 6}), out=tmp_path)
    assert other.hash != plan.hash
    orders = []
    for one in (plan, other):
        laid = [p.document for pieces in one for p in pieces if p.token_start == 0]
        count = len(set(laid))
        orders += [laid[:count], laid[count:]]
    first, second, third, _ = orders
    assert len(second) > 50
    assert sorted(first) == sorted(third)
    assert first != third
    assert second != first[: len(second)]


def test_documents_of_a_sample_stay_together(run: Path, tmp_path: Path) -> None:
    spec = spec_of(components=(Component(name="all", weight=1),), tokens=20_000)
    plan = Plan.compile(run, spec, out=tmp_path)
    members = [
        (shard.shard, member)
        for shard in walk(Run.load(Store(str(run))), ["member", "tokens"])
        for member in shard.table["member"].to_pylist()
    ]
    laid = [p.document for pieces in plan for p in pieces if p.token_start == 0]
    epoch = [members[document] for document in laid[: len(set(laid))]]
    changes = sum(a != b for a, b in pairwise(epoch))
    assert changes == len(set(epoch)) - 1


@pytest.mark.parametrize("packing", ["stream", "whole"])
def test_stretches_of_a_shard_stay_together_and_in_their_place(
    run: Path, tmp_path: Path, packing: Packing
) -> None:
    supply = int(take_inventory(Run.load(Store(str(run))), 128).tokens.sum())
    one = (Component(name="all", weight=1),)
    spec = spec_of(
        length=1, tokens=2 * supply, components=one, packing=packing, together=500, seed=3
    )
    plan = Plan.compile(run, spec, out=tmp_path)
    laid = [p.document for pieces in plan for p in pieces if p.token_start == 0]
    stretches = []
    for shard in walk(Run.load(Store(str(run))), ["tokens", "split", "member"]):
        starts = np.cumsum(shard.tokens) - shard.tokens
        members = shard.table["member"].to_pylist()
        first = [members.index(member) for member in members]
        stretches += [(shard.shard, int(starts[row]) // 500) for row in first]
    epochs = [laid[: len(laid) // 2], laid[len(laid) // 2 :]]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        of = [stretches[document] for document in epoch]
        assert sum(a != b for a, b in pairwise(of)) == len(set(of)) - 1
        assert all(a < b for a, b in pairwise(epoch) if stretches[a] == stretches[b])
    assert len(set(stretches)) < 0.5 * len(set(epochs[0]))


def test_held_out_documents_train_nothing(run: Path, tmp_path: Path) -> None:
    plan = Plan.compile(run, spec_of(), out=tmp_path)
    splits = [
        split
        for shard in walk(Run.load(Store(str(run))), ["split", "tokens"])
        for split in shard.table["split"].to_pylist()
    ]
    assert splits.count("heldout") > 0
    used = {piece.document for pieces in plan for piece in pieces}
    assert {splits[document] for document in used} == {"train"}
    for document, split in enumerate(splits):
        if split == "heldout":
            assert plan.inverse(document) == []


def test_a_source_that_is_held_out_altogether_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [Made("web", 50), Made("exams", 50, "heldout")])
    components = (Component(name="exams", sources=("exams",), weight=1),)
    with pytest.raises(PlanRefused, match=r"draws from \['exams'\], expected .*: web$"):
        Plan.compile(
            tmp_path / "run", spec_of(tokens=32, components=components), out=tmp_path / "p"
        )


def test_a_lacking_class_names_a_scale_and_a_mixture_that_can_be_met(
    run: Path, tmp_path: Path
) -> None:
    spec = spec_of(l1=256)
    with pytest.raises(PlanRefused) as refused:
        Plan.compile(run, spec, out=tmp_path)
    text = str(refused.value)
    assert re.search(r"long +long +0 +0 +1,280 +- +4 +the corpus has none", text)
    found = re.search(r"L1 = (\d+) tokens and sequences of (\d+), can be met", text)
    assert found is not None
    nearest = {"l1": int(found[1]), "length": int(found[2])}
    assert nearest["l1"] == 128
    Plan.compile(run, spec.model_copy(update=nearest), out=tmp_path)
    mixture = re.search(r"in tokens: short ([\d,]+) .*, medium ([\d,]+) .*, long 0 ", text)
    assert mixture is not None
    weights = [int(group.replace(",", "")) for group in mixture.groups()]
    assert sum(weights) == 6400
    Plan.compile(
        run, spec.model_copy(update={"components": by_length((*weights, 0))}), out=tmp_path
    )


def test_too_many_epochs_are_refused_with_what_there_is(run: Path, tmp_path: Path) -> None:
    one = (Component(name="all", weight=1, epochs=2),)
    most = re.compile(r"ask for at most ([\d,]+)")
    with pytest.raises(PlanRefused, match=r"too many epochs") as refused:
        Plan.compile(run, spec_of(tokens=128_000, components=one), out=tmp_path)
    found = most.search(str(refused.value))
    assert found is not None
    tokens = int(found[1].replace(",", ""))
    plan = Plan.compile(run, spec_of(tokens=tokens, components=one), out=tmp_path)
    assert len(plan) == tokens // 32
    begun = Counter(p.document for pieces in plan for p in pieces if p.token_start == 0)
    assert set(begun.values()) <= {1, 2}
    assert Counter(begun.values())[2] > 0.9 * len(begun)
    with pytest.raises(PlanRefused, match=r"too many epochs"):
        Plan.compile(run, spec_of(tokens=tokens + 64, components=one), out=tmp_path)


def test_transition_and_late_mixture_shift_what_is_drawn(run: Path, tmp_path: Path) -> None:
    spec = spec_of(
        components=by_length((1, 1, 0)),
        transition=Transition(tokens=3200, previous={"short": 1}),
        late=LateMixture(start=5120, weights={"long": 1}),
    )
    plan = Plan.compile(run, spec, out=tmp_path)
    drawn = [plan.component(i) for i in range(len(plan))]
    # Over the first 100 sequences the share of medium goes from 0 to 1/2: 6.25 of the first 50.
    assert drawn[:50].count("medium") in (6, 7)
    assert drawn[:100].count("medium") in (24, 25, 26)
    assert drawn[100:160].count("medium") in (29, 30, 31)
    assert set(drawn[160:]) == {"long"}


def test_length_classes_meet_without_gap_or_overlap() -> None:
    for l1 in range(1, 70):
        for tokens in range(1, 80):
            found = []
            for name in ("short", "medium", "long"):
                low, high = bounds(name, l1)
                if low <= tokens and (high is None or tokens < high):
                    found.append(name)
            assert found == [class_of(tokens, l1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": by_length((0, 0, 0))}, "one > 0"),
        (
            {"components": (Component(name="a", weight=1), Component(name="b", weight=1))},
            "same doc",
        ),
        (
            {
                "components": (
                    Component(name="a", except_sources=("web",), weight=1),
                    Component(name="b", sources=("web", "code"), weight=1),
                )
            },
            "same doc",
        ),
        ({"tokens": 31}, "at least a sequence of 32"),
        ({"transition": Transition(tokens=1, previous={"other": 1})}, r"found \['other'\]"),
        ({"length": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(**changes)


def test_what_is_no_plan_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"plan\.json: found no such file"):
        Plan.open(tmp_path)
    with pytest.raises(RunError, match="expected a finished run"):
        Plan.compile(tmp_path, spec_of(), out=tmp_path)
    plan = Plan.compile(run, spec_of(), out=tmp_path)
    plan.verify()
    with pytest.raises(IndexError, match=r"found sequence 200, expected 0 to 199"):
        plan[200]
    with pytest.raises(IndexError):
        plan[-1]
    path = plan.folder / "stream_document.bin"
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(PlanError, match=r"stream_document\.bin: found BLAKE3"):
        Plan.open(plan.folder).verify()
    path.write_bytes(whole[:-8])
    with pytest.raises(PlanError, match=r"stream_document\.bin: found [\d,]+ bytes, expected"):
        Plan.open(plan.folder)
    path.unlink()
    with pytest.raises(PlanError, match=r"stream_document\.bin: found no file"):
        Plan.open(plan.folder)
    head = plan.folder / "plan.json"
    head.write_bytes(head.read_bytes().replace(b'"seed": 5', b'"seed": 6'))
    with pytest.raises(PlanError, match="does not have the hash"):
        Plan.open(plan.folder)
    head.write_bytes(head.read_bytes().replace(b'"version": 1', b'"version": 9'))
    with pytest.raises(PlanError, match=r"found \('leyden.plan', 9\), expected"):
        Plan.open(plan.folder)


def test_ranks_that_compile_at_once_agree(run: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as ranks:
        plans = list(ranks.map(lambda _: Plan.compile(run, spec_of(), out=tmp_path), range(4)))
    assert {plan.folder for plan in plans} == set(tmp_path.iterdir())
    assert len({plan.hash for plan in plans}) == 1
    plans[0].verify()


def test_a_compile_that_fails_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mixtures.compiling._write_sequences", full)
    with pytest.raises(OSError, match="No space left"):
        Plan.compile(run, spec_of(), out=tmp_path)
    assert list(tmp_path.iterdir()) == []
