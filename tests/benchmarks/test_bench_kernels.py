"""The benchmarks of the kernels: their plumbing, on a CPU, with a clock that counts calls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

from benchmarks.aims import AIMS
from benchmarks.harness import ROOT, Line
from benchmarks.kernels import decode, shapes
from benchmarks.kernels.__main__ import main
from benchmarks.kernels.cases import KERNEL_CASES
from benchmarks.kernels.clock import Timing
from benchmarks.kernels.plot import draw, points
from benchmarks.kernels.table import Table
from benchmarks.results import read_lines, render

TINY = shapes.Sizes(
    attention=(shapes.Attention(2, 16, 4), shapes.Attention(1, 32, 2)),
    flat_from=16,
    head=16,
    layers=4,
    tokens=64,
    width=48,
    vocabulary_tokens=8,
    vocabulary=32,
    experts="tiny",
)


class FakeClock:
    """Calls everything once, and says that every call takes as long as the last said."""

    def time(self, call: Callable[[], object]) -> Timing:
        call()
        return Timing(2.0, 1.0)

    def graph(self, call: Callable[[], object], steps: int) -> Timing:
        for _ in range(steps):
            call()
        return Timing(2.0 / steps, 1.0 / steps)

    def peak_bytes(self, call: Callable[[], object]) -> int:
        call()
        return 1000


def run(name: str, sink: Path | None = None) -> Table:
    table = Table(sink, quiet=True)
    table.begin(name, "a machine", 1)
    KERNEL_CASES[name].run(table, FakeClock(), torch.device("cpu"), TINY)
    return table


@pytest.mark.parametrize("name", [name for name in KERNEL_CASES if name != "decode"])
def test_every_case_runs_and_names_its_peers(name: str) -> None:
    lines = run(name).lines
    assert lines[0].metric == "machine: a machine"
    assert {line.bench for line in lines} == {name}
    assert any(line.peer not in (None, "floor") for line in lines)
    for line in lines:
        assert (line.peer is None) == (line.ratio is None), line


def test_decode_runs_once_through_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PAGES": 4, "HEADS": 2, "SIZE": 16, "BATCHES": (1, 4)}.items():
        monkeypatch.setattr(decode, name, value)
    found = {line.metric: line for line in run("decode").lines}
    assert found["decode-1"].value == 0.5
    assert found["decode-4"].value == 2.0
    assert found["decode-4"].peer == "floor"


def test_lines_are_those_of_every_benchmark_and_make_a_page(tmp_path: Path) -> None:
    sink = tmp_path / "results.jsonl"
    table = run("lightning", sink)
    keys = ["bench", "metric", "value", "unit", "peer", "ratio", "cores", "commit"]
    assert all(list(json.loads(row)) == keys for row in sink.read_text().splitlines())
    assert [line.metric for line in read_lines(sink)] == [line.metric for line in table.lines]
    page = render(read_lines(sink))
    assert "Command: `python -m benchmarks.kernels lightning`" in page
    # Copies of two tensors take 2 ms, so four take 4 and our 2 are half of the floor.
    assert "| forward, 2 × 16 × 4 heads | 2 ms | 0.5 × | floor |" in page


def test_a_peer_that_fails_is_shown_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.kernels import lightning
    from benchmarks.kernels.peers import Peer

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("out of shared memory")

    monkeypatch.setattr(lightning, "peers", lambda: iter([Peer("other", broken, False, True)]))
    table = Table(None)
    table.begin("lightning", "a machine", 1)
    lightning.run(table, FakeClock(), torch.device("cpu"), TINY)
    assert "other: RuntimeError: out of shared memory" in capsys.readouterr().out
    assert not any(line.peer == "other" for line in table.lines)


def test_a_peer_that_computes_the_same_is_held_against_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.kernels import lightning
    from benchmarks.kernels.peers import Peer
    from kernels.lightning.reference import chunked

    def heads_first(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor
    ) -> torch.Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return chunked(q, k, v, slopes)[0].transpose(1, 2)

    monkeypatch.setattr(lightning, "peers", lambda: iter([Peer("same", heads_first, True, True)]))
    found = {line.metric: line for line in run("lightning").lines}
    assert found["outputs of same and ours apart by"].value < 1e-5
    assert found["backward, 2 × 16 × 4 heads: same"].ratio == 1.0


def test_every_aim_about_a_kernel_is_about_a_metric_that_is_printed() -> None:
    names = {shape.name for shape in shapes.FULL.attention}
    cases = {f"{way}, {name}" for way in ("forward", "backward") for name in names}
    cases |= {f"{case}: flash-linear-attention" for case in cases}
    cases.add(f"forward, {shapes.FULL.attention[-1].name}, no decay")
    cases |= {f"memory of forward and backward, {name}" for name in names}
    tiny = TINY.attention[0].name
    mixed = {line.metric for line in run("token_mixer").lines}
    cases |= {metric.replace(tiny, name) for metric in mixed for name in names}
    cases |= {line.metric for line in run("lightning").lines if line.metric.endswith("to 1M")}
    cases |= {f"decode-{batch}" for batch in decode.BATCHES}
    assert {aim.metric for aim in AIMS if aim.bench in KERNEL_CASES} <= cases


def test_the_plot_holds_every_form_in_its_unit(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [Line("lightning", "machine: A GPU, torch", 1, "multiprocessors")]
    for way in ("forward", "backward"):
        lines.append(Line("lightning", f"{way}, 8 × 8K × 64 heads", 4.194304, "ms", "floor", 2.0))
        peer = Line("lightning", f"{way}, 8 × 8K × 64 heads: other", 250.0, "calls/s", "other", 3.0)
        lines.append(peer)
    found = {(p.way, p.form): p for p in points(lines)}
    assert found["forward", "ours"].tokens == 8192
    assert found["forward", "ours"].picoseconds == pytest.approx(1000)
    assert found["backward", "floor"].picoseconds == pytest.approx(500)
    assert found["forward", "other"].picoseconds == pytest.approx(12e9 / 4_194_304)
    draw(lines, tmp_path / "plot.svg")
    assert "ps per token and head" in (tmp_path / "plot.svg").read_text()
    with pytest.raises(ValueError, match="no forward or backward case"):
        draw(lines[:1], tmp_path / "none.svg")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lightning"]) == 2
    assert "found no CUDA GPU" in capsys.readouterr().err


def test_help_lists_every_benchmark() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(case.summary in done.stdout for case in KERNEL_CASES.values())
