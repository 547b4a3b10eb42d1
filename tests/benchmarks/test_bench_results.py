"""Result lines, their order, and the page that is made of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.aims import AIMS, aim_of
from benchmarks.cases import CASES
from benchmarks.determinism import conserved
from benchmarks.harness import ROOT, Line, Report, harmonic_rate, interleave
from benchmarks.kernels.cases import KERNEL_CASES
from benchmarks.memory_of import PssSampler, tree_pss
from benchmarks.results import latest_runs, read_lines, render
from benchmarks.trainer.cases import TRAINER_CASES


def test_a_line_has_the_documented_keys_in_their_order(tmp_path: Path) -> None:
    sink = tmp_path / "results.jsonl"
    report = Report("scan", cores=1, sink=sink)
    report.add("signals", 12.3456789, "MB/s", peer="other", ratio=1 / 3)
    report.add("input: x", 1, "MB")
    rows = [json.loads(line) for line in sink.read_text().splitlines()]
    keys = ["bench", "metric", "value", "unit", "peer", "ratio", "cores", "commit"]
    assert [list(row) for row in rows] == [keys, keys]
    assert rows[0]["value"] == 12.3457
    assert rows[0]["ratio"] == 0.333333
    assert rows[1]["peer"] is None
    assert read_lines(sink)[1].metric == "input: x"


def test_a_smoke_run_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Report("scan", sink=None).add("signals", 1, "MB/s")
    assert not list(tmp_path.iterdir())


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"bench": "scan", "metric": "m", "value": 1, "unit": "s"}\n{"bench": 1}\n')
    with pytest.raises(ValueError, match=r"results\.jsonl:2: not a result line"):
        read_lines(path)


def lines_of_a_run(value: float, ratio: float) -> list[Line]:
    return [
        Line("scan", "machine: Processor", 2, "cores", commit="abc"),
        Line("scan", "input: 10 web pages, made of 3 real pages", 5, "MB", commit="abc"),
        Line("scan", "signals and signatures", value, "MB/s", "floor", 0.3, commit="abc"),
        Line(
            "scan",
            "rules and signatures, its own words, every rule on every document",
            value,
            "MB/s",
            "datatrove",
            ratio,
            commit="abc",
        ),
    ]


def test_only_the_latest_run_of_a_benchmark_counts() -> None:
    old, new = lines_of_a_run(1, 2), lines_of_a_run(30, 150)
    assert latest_runs([*old, *new])["scan"] == new


def test_the_page_says_which_aims_are_met_and_which_are_missed() -> None:
    page = render(lines_of_a_run(30, 99))
    assert "python -m benchmarks scan --pages FOLDER" in page
    assert "commit `abc`" in page
    assert "| signals and signatures | 30 MB/s | 1 | 0.3 × | floor | at least 25: met |" in page
    assert "at least 100 ×: **missed**" in page
    assert "| memory | peak PSS of the process tree, the larger set | at most 1.1 × | | not" in page


def test_every_aim_is_about_a_benchmark() -> None:
    trainer = {case.bench for case in TRAINER_CASES.values()}
    assert {aim.bench for aim in AIMS} <= {*CASES, *KERNEL_CASES, *trainer}
    line = Line("quickstart", "cold build", 241, "s")
    aim = aim_of(line)
    assert aim is not None
    assert not aim.met(line)


def test_an_aim_is_about_one_line_of_what_was_measured() -> None:
    folder = ROOT / "benchmarks"
    sources = [folder / kind / "results.jsonl" for kind in (".", "kernels", "trainer")]
    runs = latest_runs(line for source in sources for line in read_lines(source))
    for aim in AIMS:
        found = [line for line in runs.get(aim.bench, []) if aim.applies(line)]
        assert len(found) <= 1, found


def test_turns_are_interleaved_and_the_median_is_taken() -> None:
    order: list[str] = []
    times = {"a": iter([5.0, 1.0, 2.0]), "b": iter([1.0, 1.0, 9.0])}

    def turn(name: str) -> float:
        order.append(name)
        return next(times[name])

    taken = interleave({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert order == ["a", "b"] * 3
    assert taken == {"a": 2.0, "b": 1.0}


def test_rates_of_stages_in_a_row_add_up_harmonically() -> None:
    assert harmonic_rate([10.0, 10.0]) == pytest.approx(5.0)


def test_memory_of_children_is_counted() -> None:
    hold = "import sys; x = bytearray(60_000_000); print(1, flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with PssSampler(os.getpid(), interval=0.05) as sampler:
        child.stdout.readline()
        assert tree_pss(os.getpid()) - 60_000_000 > 0
        assert tree_pss(child.pid) > 60_000_000
    child.communicate()
    assert sampler.peak > 0
    assert tree_pss(child.pid) == 0


def test_conservation_laws_are_checked_per_source() -> None:
    def part(dropped: int) -> dict[str, dict[str, int]]:
        return {
            "records": {"seen": 5, "unreadable": 1, "read": 4},
            "documents": {"read": 4, "kept": 3, "dropped": 1},
            "bytes": {"read": 40, "inserted": 0, "kept": 30, "dropped": dropped, "removed": 2},
        }

    assert conserved({**part(8), "sources": {"a": part(8)}})
    assert not conserved({**part(8), "sources": {"a": part(7)}})


def test_help_lists_every_benchmark() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(case.summary in " ".join(done.stdout.split()) for case in CASES.values())
