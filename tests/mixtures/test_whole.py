"""Plans that pack documents whole, over runs made by hand."""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflow.run import Run
from dataflow.store import Store
from dataflow.tables import INDEX
from mixtures.compiling import compile_plan
from mixtures.documents import walk
from mixtures.plan import Component, LateMixture, Piece, Plan, PlanRefused, PlanSpec, Transition
from tests.mixtures.made_runs import Made, make_run

SOURCES = ("web", "code", "books")
DOCUMENTS = st.lists(
    st.builds(
        Made,
        source=st.sampled_from(SOURCES),
        tokens=st.one_of(st.integers(3, 20), st.integers(3, 120)),
        split=st.sampled_from(["train", "train", "train", "heldout"]),
        features=st.one_of(st.just(()), st.lists(st.integers(1, 30), max_size=2).map(tuple)),
    ),
    min_size=1,
    max_size=60,
)


def spec_of(**changes: Any) -> PlanSpec:
    values: dict[str, Any] = {
        "length": 32,
        "tokens": 3200,
        "seed": 5,
        "packing": "whole",
        "components": (Component(name="all", weight=1, epochs=100),),
    }
    return PlanSpec(**{**values, **changes})


def by_source(weights: Sequence[int], **others: Any) -> tuple[Component, ...]:
    return tuple(
        Component(name=source, sources=(source,), weight=weight, **others)
        for source, weight in zip(SOURCES, weights, strict=False)
    )


def expanded(document: Made) -> int:
    """Tokens by the first tiling."""
    return document.tokens - len(document.features) + sum(document.features)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_documents_are_whole_quotas_are_met_and_nothing_is_there_too_often(
    data: st.DataObject,
) -> None:
    documents = data.draw(DOCUMENTS)
    length = data.draw(st.integers(1, 60))

    def is_left_out(document: Made) -> bool:
        return bool(document.features) and expanded(document) > length

    present = {d.source for d in documents if d.split == "train" and not is_left_out(d)}
    weights = [data.draw(st.integers(1, 9)) if source in present else 0 for source in SOURCES]
    components = tuple(c for c in by_source(weights, epochs=2000) if c.weight)
    if not components:
        return
    spec = spec_of(
        length=length,
        tokens=length * data.draw(st.integers(1, 60)),
        seed=data.draw(st.integers(0, 2**64 - 1)),
        components=components,
        tiling="released28",
    )
    with tempfile.TemporaryDirectory() as scratch:
        order = make_run(Path(scratch) / "run", documents)
        plan = Plan.compile(Path(scratch) / "run", spec, out=Path(scratch) / "plans")
        plan.verify()
        assert len(plan) == spec.sequences
        numbered = [documents[place] for place in order]
        sizes = [expanded(document) for document in numbered]
        assert plan.lengths(range(len(sizes))).tolist() == sizes
        assert plan.tokens(range(len(sizes))).tolist() == [d.tokens for d in numbered]
        where: dict[int, list[tuple[int, Piece]]] = defaultdict(list)
        drawn: Counter[str] = Counter()
        for i, pieces in enumerate(plan):
            fill = sum(piece.token_length for piece in pieces)
            assert 0 < fill <= length
            drawn[plan.component(i)] += fill
            for piece in pieces:
                document = numbered[piece.document]
                assert document.split == "train"
                assert document.source == plan.component(i)
                assert not is_left_out(document)
                assert piece.token_start % length == 0
                left = sizes[piece.document] - piece.token_start
                assert piece.token_length == min(left, length)
                where[piece.document].append((i, piece))
            for component in components:
                exact = Fraction(component.weight * drawn.total(), sum(spec.weights))
                assert abs(drawn[component.name] - exact) <= length + Fraction(1, 1000)
        assert plan.fill == drawn.total() / (len(plan) * length)
        for number in range(len(numbered)):
            assert plan.inverse(number) == sorted(where[number])


def test_every_document_of_an_epoch_comes_before_the_next_epochs(tmp_path: Path) -> None:
    documents = [Made("web", 5 + i * 7 % 41, features=()) for i in range(120)]
    make_run(tmp_path / "run", documents)
    whole = sum(d.tokens for d in documents)
    plan = Plan.compile(tmp_path / "run", spec_of(tokens=2 * whole), out=tmp_path / "plans")
    counts: Counter[int] = Counter()
    early = 0
    for pieces in plan:
        for piece in pieces:
            if piece.token_start == 0:
                counts[piece.document] += 1
                early += counts[piece.document] > 1 and len(counts) < len(documents)
    assert max(counts.values()) - min(counts.values()) <= 1
    # An epoch's last documents wait for the next one's first window only where they do not fit.
    assert early < 10


def test_the_same_bytes_however_it_is_sorted(tmp_path: Path) -> None:
    documents = [Made("web", 3 + i * 7 % 61, features=(9,) * (i % 3)) for i in range(200)]
    make_run(tmp_path / "run", documents)
    spec = spec_of(tiling="tiny56")
    plan = Plan.compile(tmp_path / "run", spec, out=tmp_path / "one")
    run = Run.load(Store(str(tmp_path / "run")))
    again = compile_plan(run, spec, tmp_path / "two", sort_bytes=2048)
    assert again.name == plan.folder.name
    names = {path.name for path in plan.folder.iterdir()}
    assert names == {path.name for path in again.iterdir()}
    assert "scratch" not in names
    for name in names:
        assert (again / name).read_bytes() == (plan.folder / name).read_bytes()


def test_mixtures_that_change_are_followed(tmp_path: Path) -> None:
    documents = [Made("web" if i % 2 else "code", 12 + i % 2 * 8) for i in range(600)]
    make_run(tmp_path / "run", documents)
    spec = spec_of(
        tokens=32 * 200,
        components=by_source((1, 1)),
        transition=Transition(tokens=32 * 100, previous={"web": 1}),
        late=LateMixture(start=32 * 160, weights={"code": 1}),
    )
    plan = Plan.compile(tmp_path / "run", spec, out=tmp_path / "plans")
    tokens = [
        {plan.component(i): sum(piece.token_length for piece in plan[i])} for i in range(len(plan))
    ]

    def share(first: int, stop: int) -> float:
        code = sum(found.get("code", 0) for found in tokens[first:stop])
        return code / sum(sum(found.values()) for found in tokens[first:stop])

    # Sequences of web hold one document of 20, those of code two of 12: tokens are shared evenly.
    assert share(100, 160) == pytest.approx(0.5, abs=0.03)
    assert share(0, 100) == pytest.approx(0.25, abs=0.03)
    assert share(0, 50) == pytest.approx(0.125, abs=0.04)
    assert share(162, 200) == 1.0


def test_what_is_left_out_is_counted_and_a_tiling_is_asked_for(tmp_path: Path) -> None:
    documents = [Made("web", 10, features=(12, 12)) for _ in range(20)]
    documents += [Made("web", 10, features=(40,)) for _ in range(7)]
    documents += [Made("web", 70) for _ in range(5)]
    make_run(tmp_path / "run", documents)
    with pytest.raises(PlanRefused, match=r"component 'all' has documents with images .* tiny56"):
        Plan.compile(tmp_path / "run", spec_of(), out=tmp_path / "plans")
    plan = Plan.compile(tmp_path / "run", spec_of(tiling="released28"), out=tmp_path / "plans")
    (head,) = plan.summary
    assert (head["documents"], head["tokens"]) == (25, 20 * 32 + 5 * 70)
    assert (head["left_out_documents"], head["left_out_tokens"]) == (7, 7 * 49)
    used = {piece.document for pieces in plan for piece in pieces}
    assert used == {n for n in range(32) if not 20 <= n < 27}
    # By the third tiling an image has two features more: none of the first twenty fits.
    plan = Plan.compile(tmp_path / "run", spec_of(tiling="fixed336"), out=tmp_path / "plans")
    assert plan.summary[0]["left_out_documents"] == 27
    components = (Component(name="all", weight=1, epochs=1),)
    with pytest.raises(PlanRefused, match="27: images, longer than a sequence"):
        Plan.compile(
            tmp_path / "run",
            spec_of(tiling="fixed336", components=components),
            out=tmp_path / "plans",
        )


def test_documents_that_are_never_cut_are_left_out_where_they_are_longer(tmp_path: Path) -> None:
    """As pairs of answers are, which a sequence holds whole or not."""
    documents = [Made("web", 20) for _ in range(300)] + [Made("web", 33) for _ in range(9)]
    make_run(tmp_path / "run", documents)
    cut = Plan.compile(tmp_path / "run", spec_of(), out=tmp_path / "plans")
    assert "longer" not in cut.spec.model_dump()  # plans from before keep their names
    plan = Plan.compile(tmp_path / "run", spec_of(longer="leave_out"), out=tmp_path / "plans")
    assert plan.hash != cut.hash
    assert all(piece.token_length == 20 for pieces in plan for piece in pieces)
    (head,) = plan.summary
    assert (head["left_out_documents"], head["left_out_tokens"]) == (9, 9 * 33)
    alone = (Component(name="all", weight=1, epochs=1),)
    asked = spec_of(longer="leave_out", components=alone, tokens=320_000)
    with pytest.raises(PlanRefused, match=r"9: longer than a sequence"):
        Plan.compile(tmp_path / "run", asked, out=tmp_path / "plans")
    with pytest.raises(ValidationError, match="found longer leave_out and packing stream"):
        spec_of(packing="stream", longer="leave_out")


def test_a_low_fill_is_reported_with_its_bound(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [Made("web", 20) for _ in range(300)])
    plan = Plan.compile(tmp_path / "run", spec_of(), out=tmp_path / "plans")
    assert plan.fill == 20 / 32
    (head,) = plan.summary
    assert head["fill"] == head["packed_fill"] == head["best_fill"] == 20 / 32


def test_epochs_are_counted_in_tokens_not_in_sequences(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [Made("web", 20) for _ in range(100)])
    components = (Component(name="all", weight=1, epochs=2),)
    plan = Plan.compile(
        tmp_path / "run", spec_of(tokens=200 * 32, components=components), out=tmp_path / "plans"
    )
    counts = Counter(piece.document for pieces in plan for piece in pieces)
    assert set(counts.values()) == {2}
    assert len(counts) == 100
    with pytest.raises(PlanRefused, match="too many epochs") as refused:
        Plan.compile(
            tmp_path / "run",
            spec_of(tokens=201 * 32, components=components),
            out=tmp_path / "plans",
        )
    assert re.search(r"all +any +100 +2,000 +4,0\d\d +2\.\d\d +2 +too many", str(refused.value))


def test_an_index_from_before_images_is_read(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [Made("web", 3 + i) for i in range(50)])
    now = Plan.compile(tmp_path / "run", spec_of(tiling="tiny56"), out=tmp_path / "now")
    run = Run.load(Store(str(tmp_path / "run")))
    for shard in run.shards:
        path = tmp_path / "run" / shard.tokenize.outputs["index"].path
        table = pq.read_table(path).drop_columns(["images"])
        metadata = {"leyden.table": INDEX.name, "leyden.version": "1"}
        pq.write_table(table.replace_schema_metadata(metadata), path)
    before = Plan.compile(tmp_path / "run", spec_of(tiling="tiny56"), out=tmp_path / "before")
    assert before.hash == now.hash


def test_an_index_of_version_2_is_read(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [Made("web", 3 + i, features=(16,)) for i in range(50)])
    now = Plan.compile(tmp_path / "run", spec_of(tiling="tiny56"), out=tmp_path / "now")
    run = Run.load(Store(str(tmp_path / "run")))
    for shard in run.shards:
        path = tmp_path / "run" / shard.tokenize.outputs["index"].path
        table = pq.read_table(path)
        kind = INDEX.columns(2).field("images")
        images = [
            [{name: image[name] for name in kind.type.value_type.names} for image in row]
            for row in table["images"].to_pylist()
        ]
        place = table.schema.get_field_index("images")
        table = table.set_column(place, kind, pa.array(images, kind.type))
        metadata = {"leyden.table": INDEX.name, "leyden.version": "2"}
        pq.write_table(table.replace_schema_metadata(metadata), path)
    spec = spec_of(tiling="tiny56")
    assert Plan.compile(tmp_path / "run", spec, out=tmp_path / "before").hash == now.hash
    # One squeezed tile of 56 pixels has 16 features, whatever the made counts said.
    shards = walk(run, ["tokens", "images"])
    lengths = [length for shard in shards for length in shard.expanded("fixed56").tolist()]
    assert lengths == [3 + i - 1 + 16 for i in range(50)]


def test_old_and_new_plans_are_told_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [Made("web", 20) for _ in range(20)])
    stream = Plan.compile(tmp_path / "run", spec_of(packing="stream"), out=tmp_path / "plans")
    whole = Plan.compile(tmp_path / "run", spec_of(), out=tmp_path / "plans")
    assert stream.hash != whole.hash
    assert b'"version": 1' in (stream.folder / "plan.json").read_bytes()
    assert b'"packing"' not in (stream.folder / "plan.json").read_bytes()
    assert b'"version": 2' in (whole.folder / "plan.json").read_bytes()
    assert stream.fill == 1.0
    assert [Plan.open(plan.folder).hash for plan in (stream, whole)] == [stream.hash, whole.hash]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": "stream", "tiling": "tiny56"}, "expected packing whole"),
        ({"tiling": "tiny57"}, "expected one of released28"),
        ({"packing": "best"}, "'stream' or 'whole'"),
        ({"length": 1, "tokens": 1 << 30}, "expected at most 536,870,912"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(**changes)
