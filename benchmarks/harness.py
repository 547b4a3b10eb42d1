"""What every benchmark uses: pinning, interleaved timing, peers in other processes, result lines.

A peer is timed in the same run and on the same core as we are, turn by turn (A B A B), so that a
machine that slows down slows both. The figure is the median of the turns.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.jsonl"
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"

ONE_THREAD = {
    "ARROW_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set before any of these libraries is imported."""


@dataclass(frozen=True)
class Line:
    """One result. ``ratio`` is ``value`` divided by the peer's value, in the same unit."""

    bench: str
    metric: str
    value: float
    unit: str
    peer: str | None = None
    ratio: float | None = None
    cores: int = 1
    commit: str = ""

    def to_json(self) -> str:
        """The line as it stands in ``results.jsonl``."""
        row = asdict(self)
        for name in ("value", "ratio"):
            if row[name] is not None:
                row[name] = float(f"{row[name]:.6g}")
        return json.dumps(row, ensure_ascii=False)

    def __str__(self) -> str:
        text = f"{self.bench:<14} {self.metric:<58} {self.value:>12,.4g} {self.unit}"
        if self.peer is not None and self.ratio is not None:
            text += f"   {self.ratio:,.3g} x {self.peer}"
        return text


@dataclass(frozen=True)
class Options:
    """What a run was asked for.

    ``pages`` are folders of real pages; without them pages are synthetic. ``quick`` shrinks every
    input to a smoke test, whose results are printed and never recorded.
    """

    pages: tuple[Path, ...] = ()
    scratch: Path = ROOT / "runs" / "bench"
    repeats: int = 3
    quick: bool = False
    seed: int = 0

    def size(self, full: int, quick: int) -> int:
        """The size of an input: ``full``, or ``quick`` in a smoke test."""
        return quick if self.quick else full


@dataclass
class Report:
    """Collects the lines of one benchmark; prints each, and appends it unless ``sink`` is None."""

    bench: str
    cores: int = 1
    sink: Path | None = RESULTS
    json_only: bool = False
    lines: list[Line] = field(default_factory=list)

    def add(
        self,
        metric: str,
        value: float,
        unit: str,
        *,
        peer: str | None = None,
        ratio: float | None = None,
        cores: int | None = None,
    ) -> Line:
        """Record one result."""
        cores = self.cores if cores is None else cores
        line = Line(self.bench, metric, value, unit, peer, ratio, cores, commit())
        self.lines.append(line)
        print(line.to_json() if self.json_only else line, flush=True)
        if self.sink is not None:
            with self.sink.open("a", encoding="utf-8") as sink:
                sink.write(line.to_json() + "\n")
        return line

    def note(self, text: str) -> None:
        """Say what is going on; not a result."""
        if not self.json_only:
            print(f"{self.bench:<14} {text}", flush=True)


_COMMIT: list[str] = []
_WRITTEN = re.compile(r"benchmarks/(\w+/)?(RESULTS\.md|results\.jsonl)$")


def commit() -> str:
    """The short hash of the commit; with ``+`` when tracked files differ from it.

    On a machine without git or its folder: what ``LEYDEN_COMMIT`` says, else ``uncommitted``.
    """
    if not _COMMIT and (shutil.which("git") is None or not (ROOT / ".git").exists()):
        _COMMIT.append(os.environ.get("LEYDEN_COMMIT", "uncommitted"))
    if not _COMMIT:

        def git(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
            )

        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no").stdout.splitlines()
        # What benchmarks write themselves does not count.
        edited = [line for line in changed if not re.search(_WRITTEN, line)]
        name = head.stdout.strip() if head.returncode == 0 else "uncommitted"
        _COMMIT.append(name + ("+" if edited else ""))
    return _COMMIT[0]


def machine() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def pin(core: int | None = None) -> int:
    """Keep this process and its future children on one core; returns the core."""
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("benchmarks pin processes to a core, which needs Linux")
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleave(runs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Take turns: each run gives seconds, ``repeats`` times; returns the median of each."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(run())
    return {name: statistics.median(times) for name, times in taken.items()}


class PeerMissingError(RuntimeError):
    """The peers' environment is not there and could not be made."""


def peer_python(environment: str = "") -> Path:
    """The interpreter of the peers' environment, made or brought up to date when it has to be.

    ``environment`` names another than the common one, for a peer that cannot live with the others.

    Raises
    ------
    PeerMissingError
        If it cannot be made, for one without a package index.
    """
    script = ROOT / "benchmarks" / "peers" / "make_env.sh"
    made = subprocess.run(
        [str(script), *([environment] if environment else [])],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise PeerMissingError(f"{script} could not make .venv-peers: {made.stderr[-1000:]}")
    if environment:
        return ROOT / f".venv-peers-{environment}" / "bin" / "python"
    return PEER_PYTHON


class Peer:
    """A peer's program, kept running: one JSON request a line, one JSON reply a line.

    A reply is ``{"seconds": …, …}``, measured inside the peer after its imports and warm-up, or
    ``{"error": …}``.
    """

    def __init__(self, module: str, *arguments: str, environment: str = "") -> None:
        command = [str(peer_python(environment)), "-m", f"benchmarks.peers.{module}", *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises
        ------
        RuntimeError
            With the peer's own message when it failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with status {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"the peer failed: {reply['error']}")
        return reply

    def seconds(self, **request: Any) -> float:
        """The seconds of one request, as the peer measured them."""
        return float(self.ask(**request)["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def harmonic_rate(rates: Sequence[float]) -> float:
    """The rate of stages done one after the other: 1 / sum of 1 / rate."""
    return 1.0 / sum(1.0 / rate for rate in rates)
