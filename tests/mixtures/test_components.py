"""What components choose documents by: columns, signals, parts, and how often an epoch has one."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflow.run import Run
from dataflow.store import Store
from mixtures.compiling import canonical, compile_plan
from mixtures.documents import walk
from mixtures.inventory import take_inventory
from mixtures.members import in_part
from mixtures.plan import Component, LateMixture, Plan, PlanError, PlanRefused, PlanSpec, Transition
from mixtures.rows import document_number
from mixtures.selection import Condition, Part
from mixtures.spec import Packing
from tests.mixtures.made_runs import Made, made_doc_id, make_run

WORDS, FRACTION = "gopher.words", "gopher.alpha_word_frac"

DOCUMENTS = st.lists(
    st.builds(
        Made,
        source=st.sampled_from(["web", "code"]),
        tokens=st.integers(1, 60),
        split=st.sampled_from(["train", "train", "train", "heldout"]),
        tier=st.sampled_from(["high", "low"]),
        language=st.sampled_from(["en", "fr"]),
        domain=st.sampled_from([None, "math"]),
        cluster=st.sampled_from([None, "x", "y", "z"]),
        signals=st.fixed_dictionaries(
            {}, optional={WORDS: st.integers(48, 52), FRACTION: st.sampled_from([0.1, 0.8])}
        ),
    ),
    min_size=1,
    max_size=24,
)

MIXTURES: list[tuple[dict[str, Any], ...]] = [
    ({"tiers": ("high",), "languages": ("en",)}, {"tiers": ("low",)}),
    ({"domains": ("math",), "repeat": {1: 1, 2: 2, 4: 3}},),
    ({"where": ("gopher.words >= 50",)}, {"where": ("gopher.words < 50",), "repeat": {1: 2}}),
    (
        {"where": ("gopher.words != 50", "gopher.alpha_word_frac > .1")},
        {"where": (f"{WORDS}==50",)},
    ),
    (
        {"part": Part(salt="a", stop=Fraction(1, 2)), "tiers": ("high",)},
        {"part": Part(salt="a", start=Fraction(1, 2)), "repeat": {1: 1, 2: 2}},
    ),
]

MEASURED = Made("web", 1, signals={WORDS: 50, FRACTION: 0.5})
"""In a ledger, so that the run has these signals."""


def matches(document: Made, one: dict[str, Any]) -> bool:
    """All but the part, as the fields' descriptions read."""

    def holds(written: str) -> bool:
        condition = Condition.parse(written)
        value = document.signals.get(condition.signal)
        if value is None:
            return False
        # Python's comparison; .1 and .8 are compared as float32 are.
        found: bool = eval(f"value {condition.op} {condition.value}", {"value": value})
        return found

    return (
        document.split == "train"
        and document.tier in one.get("tiers", (document.tier,))
        and document.language in one.get("languages", (document.language,))
        and document.domain in one.get("domains", (document.domain,))
        and all(map(holds, one.get("where", ())))
    )


def spec_of(components: tuple[Component, ...], **changes: Any) -> PlanSpec:
    return PlanSpec(**{"length": 16, "tokens": 1600, "components": components, **changes})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_components_have_the_documents_that_match_as_often_as_they_say(data: st.DataObject) -> None:
    documents, dropped = data.draw(DOCUMENTS), [*data.draw(DOCUMENTS), MEASURED]
    filters = data.draw(st.sampled_from(MIXTURES))
    packing: Packing = data.draw(st.sampled_from(["stream", "whole"]))
    length = data.draw(st.integers(1, 40))
    sizes = Counter(d.cluster for d in [*documents, *dropped] if d.cluster is not None)

    def times(document: Made, one: dict[str, Any]) -> int:
        size = sizes.get(document.cluster or "", 1)
        repeat: dict[int, int] = one.get("repeat", {1: 1})
        return max(n for least, n in repeat.items() if least <= size)

    components = tuple(
        Component(name=f"c{i}", weight=1, epochs=3000, **one) for i, one in enumerate(filters)
    )
    with tempfile.TemporaryDirectory() as scratch:
        order = make_run(Path(scratch) / "run", documents, dropped=dropped)
        run = Run.load(Store(str(Path(scratch) / "run")))
        numbered = [documents[place] for place in order]
        inventory = take_inventory(run, 64, spec_of(components, l1=64))
        mine = []
        for component, one in zip(components, filters, strict=True):
            found = {n for n, d in enumerate(numbered) if matches(d, one)}
            if component.part is not None:
                found &= part_of(run, component.part)
            mine.append({n: times(numbered[n], one) for n in found})
            tokens = {n: numbered[n].tokens for n in found}
            assert inventory.of(component, 64) == (len(found), sum(tokens.values()))
            again = sum(tokens[n] * often for n, often in mine[-1].items())
            assert inventory.epoch_of(component, 64) == again
        kept = tuple(c for c, found in zip(components, mine, strict=True) if found)
        if not kept:
            return
        total = data.draw(st.integers(length, max(length, 2 * inventory.epoch_of(kept[0], 64))))
        spec = spec_of(kept, length=length, tokens=total, packing=packing)
        # 2 kB hold some of the records only: all sorts are spilled and merged.
        plan = Plan.open(compile_plan(run, spec, Path(scratch) / "plans", sort_bytes=2048))
        laid: dict[str, list[int]] = defaultdict(list)
        for i, pieces in enumerate(plan):
            laid[plan.component(i)] += [p.document for p in pieces if p.token_start == 0]
        for component, full in zip(components, mine, strict=True):
            check_epochs(laid[component.name], full, packing)


def part_of(run: Run, part: Part) -> set[int]:
    """The numbers of a part's documents."""
    return {
        shard.first + int(row)
        for shard in walk(run, ["cluster", "content_id"])
        for row in np.flatnonzero(in_part(shard, part))
    }


def check_epochs(laid: list[int], full: dict[int, int], packing: Packing) -> None:
    """Every epoch has each document as often as it says."""
    read = Counter(laid)
    assert set(read) <= set(full)
    if packing == "stream":
        while laid:
            size = min(sum(full.values()), len(laid))
            epoch, laid = Counter(laid[:size]), laid[size:]
            assert epoch <= Counter(full)
        return
    # Documents longer than a sequence come in pieces of which the plan's end may have a later one
    # alone, and what a window had no room for opens the next.
    begun = -(-len(laid) // max(1, sum(full.values())))
    assert all(read[n] <= full[n] * (begun + 1) for n in full)
    assert all(read[n] >= full[n] * (begun - 3) for n in full)


def test_parts_of_one_salt_are_disjoint_and_nested_and_split_no_cluster(tmp_path: Path) -> None:
    documents = [
        Made(
            "web", 5, "heldout" if i % 7 == 3 else "train", cluster=f"c{i % 60}" if i % 2 else None
        )
        for i in range(600)
    ]
    order = make_run(tmp_path, documents, shard_documents=100)
    run = Run.load(Store(str(tmp_path)))

    def part(start: str, stop: str, salt: str = "a") -> set[int]:
        return part_of(run, Part(salt=salt, start=Fraction(start), stop=Fraction(stop)))

    thirds = [part("0", "1/3"), part("1/3", "2/3"), part("2/3", "1")]
    assert set.union(*thirds) == set(range(600))
    assert sum(map(len, thirds)) == 600
    assert all(130 < len(third) < 270 for third in thirds)
    assert part("1/10", "1/4") < thirds[0]
    other = part("0", "1/3", "b")
    assert other not in thirds
    assert 20 < len(other & thirds[0]) < 120  # drawn independently: 67
    clusters: dict[str, set[int]] = defaultdict(set)
    for number, place in enumerate(order):
        if documents[place].cluster is not None:
            clusters[str(documents[place].cluster)].add(number)
    assert all(any(members <= third for third in thirds) for members in clusters.values())


def test_the_ends_of_parts_are_exact() -> None:
    assert Part(salt="a", stop=Fraction(1, 3)).hashes == (0, (1 << 64) // 3 + 1)
    assert Part(salt="a", start=Fraction(1, 2)).hashes == (1 << 63, 1 << 64)
    tenth = Part.model_validate({"salt": "a", "start": 0.1, "stop": "3/10"})
    assert (tenth.start, tenth.stop) == (Fraction(1, 10), Fraction(3, 10))
    with pytest.raises(ValidationError, match=r"found start 1/2 and stop 1/3, expected 0 <= start"):
        Part(salt="a", start=Fraction(1, 2), stop=Fraction(1, 3))


def test_copies_lie_apart_in_an_epoch_and_elsewhere_in_the_next(tmp_path: Path) -> None:
    documents = [Made("web", 4, cluster=f"c{i // 2}" if i < 60 else None) for i in range(300)]
    make_run(tmp_path / "run", documents, shard_documents=50)
    repeated = Component(name="all", weight=1, epochs=6, repeat={1: 1, 2: 3})
    tokens = 2 * 4 * (240 + 3 * 60)
    plan = Plan.compile(tmp_path / "run", spec_of((repeated,), tokens=tokens), out=tmp_path / "p")
    assert plan.summary[0]["tokens"] == 1200
    assert plan.summary[0]["epoch_tokens"] == tokens // 2
    laid = [piece.document for pieces in plan for piece in pieces if piece.token_start == 0]
    firsts = []
    for epoch in (laid[:420], laid[420:]):
        places = defaultdict(list)
        for place, document in enumerate(epoch):
            places[document].append(place)
        assert Counter(map(len, places.values())) == {1: 240, 3: 60}
        gaps = [np.diff(found) for found in places.values() if len(found) == 3]
        assert np.min(gaps) > 0.7 * 420 / 6  # half a third, as documents are spread
        firsts.append(epoch[:100])
    assert firsts[0] != firsts[1]
    with pytest.raises(PlanRefused, match=r"6,720 +4\.00 +2 +too many epochs"):
        Plan.compile(tmp_path / "run", spec_of((repeated,), tokens=2 * tokens), out=tmp_path / "p")


def test_packed_whole_copies_count_against_the_cap(tmp_path: Path) -> None:
    documents = [
        Made("web", 3 + i % 9, cluster=f"c{i // 2}" if i < 60 else None) for i in range(300)
    ]
    make_run(tmp_path / "run", documents, shard_documents=50)
    repeated = Component(name="all", weight=1, epochs=7, repeat={1: 1, 2: 3})
    epoch = sum(d.tokens * (3 if d.cluster else 1) for d in documents)
    tokens = 2 * epoch * 99 // 100 // 16 * 16
    spec = spec_of((repeated,), tokens=tokens, packing="whole")
    plan = Plan.compile(tmp_path / "run", spec, out=tmp_path / "p")
    read = Counter(piece.document for pieces in plan for piece in pieces)
    order = [d.cluster is not None for d in documents]
    assert {read[n] for n in range(300) if order[n]} <= {5, 6}
    assert {read[n] for n in range(300) if not order[n]} <= {1, 2}
    more = spec_of((repeated,), tokens=tokens * 11 // 10, packing="whole")
    with pytest.raises(PlanRefused, match=r" 2 +too many epochs"):
        Plan.compile(tmp_path / "run", more, out=tmp_path / "p")


def test_documents_are_found_by_their_ids(tmp_path: Path) -> None:
    documents = [
        Made("web", 20, cluster="x", split="heldout" if i == 5 else "train") for i in range(30)
    ]
    make_run(tmp_path / "run", documents, dropped=[Made("web", 20, cluster="x")])
    one = Component(name="all", weight=1, epochs=3)
    plan = Plan.compile(tmp_path / "run", spec_of((one,), tokens=1200), out=tmp_path / "p")
    again = Plan.open(plan.folder, tmp_path / "run")
    found = defaultdict(set)
    for i, pieces in enumerate(plan):
        for piece in pieces:
            found[piece.document].add(i)
    numbers = {}
    for place in range(31):
        doc_id = made_doc_id([*documents, documents[0]], place)
        sequences = plan.sequences_of(doc_id)
        assert again.sequences_of(doc_id.hex()) == sequences
        number = document_number(Run.load(Store(str(tmp_path / "run"))), doc_id)
        assert sequences == sorted(found[-1 if number is None else number])
        numbers[place] = number
    assert numbers[30] is None
    assert sorted(n for n in numbers.values() if n is not None) == list(range(30))
    with pytest.raises(PlanError, match=r"expected the id of one that .* has read"):
        plan.sequences_of("ab" * 16)
    with pytest.raises(PlanError, match=r"opened without its corpus"):
        Plan.open(plan.folder).sequences_of(doc_id)
    make_run(tmp_path / "other", documents[:9])
    with pytest.raises(PlanError, match=r"found a plan of the corpus \w+…, expected of"):
        Plan.open(plan.folder, tmp_path / "other")


def test_a_dialect_is_what_a_build_would_keep(tmp_path: Path) -> None:
    good = {
        WORDS: 60, "gopher.mean_word_chars": 5, "gopher.hash_ratio": 0, FRACTION: 0.8,
        "gopher.ellipsis_ratio": 0, "gopher.bullet_line_frac": 0.0, "gopher.stop_words": 2,
        "gopher.ellipsis_line_frac": 0.0,
    }  # fmt: skip
    unmeasured = {name: value for name, value in good.items() if name != FRACTION}
    signals = [good, {**good, WORDS: 49}, {**good, FRACTION: 0.79}, unmeasured]
    documents = [Made("web", 4, signals=signals[i % 4]) for i in range(40)]
    order = make_run(tmp_path / "run", documents)
    components = (Component(name="good", weight=1, dialects=("gopher.quality",)),)
    plan = Plan.compile(tmp_path / "run", spec_of(components, tokens=80), out=tmp_path / "p")
    read = {order[piece.document] % 4 for pieces in plan for piece in pieces}
    assert read == {0, 3}
    assert plan.summary[0]["documents"] == 20


def test_a_specification_survives_its_json() -> None:
    one = Component(
        name="a", weight=1, tiers=("high",), where=("gopher.words>=5e1",), repeat={1: 1, 5: 2},
        part=Part(salt="s", start=Fraction(1, 3)), dialects=("c4.document",),
    )  # fmt: skip
    spec = spec_of((one,))
    written = canonical(spec.model_dump(mode="json"))
    assert PlanSpec.model_validate_json(written) == spec
    assert one.where == ("gopher.words >= 50",)
    assert b'"start":"1/3"' in written


@pytest.mark.parametrize(
    ("packing", "named", "written"),
    [
        ("stream", "0cb0e03b3d6b2145", "a5e6806124a5acb2"),
        ("whole", "c3860b84c9ac4fd7", "12c09659040dacae"),
    ],
)
def test_plans_of_before_these_fields_keep_their_names_and_bytes(
    tmp_path: Path, packing: Packing, named: str, written: str
) -> None:
    documents = [
        Made("web" if i % 2 else "code", 5 + i * 7 % 90, "heldout" if i % 10 == 4 else "train")
        for i in range(200)
    ]
    make_run(tmp_path / "run", documents)
    short = Component(name="short", length="short", weight=3, sources=("web",), epochs=9)
    rest = Component(name="rest", length="medium", except_sources=("web",), weight=5, epochs=9)
    spec = PlanSpec(
        length=32, tokens=6400, seed=5, l1=128, components=(short, rest), packing=packing,
        transition=Transition(tokens=3200, previous={"short": 1}),
        late=LateMixture(start=5120, weights={"rest": 1}),
    )  # fmt: skip
    plan = Plan.compile(tmp_path / "run", spec, out=tmp_path / "p")
    head = orjson.loads((plan.folder / "plan.json").read_bytes())
    found = [spec.model_dump(mode="json"), [head["arrays"], head["components"]]]
    assert [blake3.blake3(canonical(one)).hexdigest()[:16] for one in found] == [named, written]
