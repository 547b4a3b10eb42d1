"""Documents behind a budget's end are not sorted, and the plan is the one of all documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow import external
from dataflow.run import Run
from dataflow.store import Store
from mixtures import compiling, order, reach, whole
from mixtures.compiling import compile_plan
from mixtures.plan import Component, PlanSpec
from mixtures.reach import EVERYTHING, last_reach
from mixtures.spec import Packing
from tests.mixtures.made_runs import Made, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(
        folder,
        [
            Made("web" if i % 3 else "code", 3 + i * 7 % 40, cluster=f"c{i // 3}")
            for i in range(3000)
        ],
        shard_documents=500,
    )
    return Run.load(Store(str(folder)))


def spec_of(packing: Packing) -> PlanSpec:
    """One component ends in its first epoch, one in its second, with copies."""
    components = (
        Component(name="web", sources=("web",), weight=1, epochs=2),
        Component(name="code", sources=("code",), weight=6, epochs=8, repeat={1: 1, 3: 2}),
    )
    return PlanSpec(length=16, tokens=70_000, components=components, packing=packing)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("packing", ["stream", "whole"])
@pytest.mark.parametrize("deviations", [1, -1000])
def test_the_plan_is_that_of_all_documents(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: Packing, deviations: int
) -> None:
    written: list[bool] = []
    sorted_entries: list[int] = []
    write = reach.last_reaches

    def noted(*found: object, all_: bool) -> list[int]:
        written.append(all_)
        return write(*found, all_=all_)  # type: ignore[arg-type]

    def counted(batches, *rest):  # type: ignore[no-untyped-def]
        taken = list(batches)
        sorted_entries.append(sum(map(len, taken)))
        return sort(iter(taken), *rest)

    sort = external.sorted_records
    monkeypatch.setattr(order, "sorted_records", counted)
    for module in (whole, compiling):
        monkeypatch.setattr(module, "last_reaches", noted)
    # Of a run this small no margin would leave anything out.
    monkeypatch.setattr(reach, "_SAMPLE_TOKENS", 1)
    monkeypatch.setattr(reach, "DEVIATIONS", deviations)
    part = compile_plan(run, spec_of(packing), tmp_path / "part")
    # A margin below what is needed is found out, and all documents are sorted after all.
    assert written == [False] if deviations > 0 else [False, True]
    monkeypatch.setattr(reach, "last_reach", lambda *_: EVERYTHING)
    everything = compile_plan(run, spec_of(packing), tmp_path / "all")
    assert contents(part) == contents(everything)
    assert sorted_entries[0] < 0.8 * sorted_entries[-1]


def test_a_reach_has_a_margin_and_ends_with_the_epoch() -> None:
    assert last_reach(0, 0, 0, 0) == EVERYTHING
    assert last_reach(1000, 1000, 1, 10) == EVERYTHING
    half = last_reach(5 * 10**11, 10**12, 1, 400_000)
    assert 0.503 < half / 2**64 < 0.504
    assert last_reach(15 * 10**11, 10**12, 2, 400_000) == half
