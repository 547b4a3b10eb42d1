"""How a call on a GPU is timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

SLOW_MS = 200.0
"""A call that takes longer is timed once, after one to warm up: its spread is small."""


class Timing(NamedTuple):
    """Milliseconds of one call: alone, the second-level cache cleared; and in a row of many."""

    alone: float
    sustained: float


class Clock(Protocol):
    """What the cases are timed with."""

    def time(self, call: Callable[[], object]) -> Timing:
        """An eager call, with what its launch costs where the GPU would wait for it."""

    def graph(self, call: Callable[[], object], steps: int) -> Timing:
        """A call of which ``steps`` are captured in a CUDA graph; both figures are of one step."""

    def peak_bytes(self, call: Callable[[], object]) -> int:
        """The most memory held at a time during a call, what was held before included."""


class GpuClock:
    """The clock of the current CUDA device."""

    def time(self, call: Callable[[], object]) -> Timing:
        """The median of Triton's ``do_bench``, and events around a row of calls."""
        from triton.testing import do_bench

        call()
        once = self._row(call, 1)
        if once > SLOW_MS:
            return Timing(once, once)
        alone = float(do_bench(call, warmup=40, rep=150, return_mode="median"))
        return Timing(alone, self._row(call, max(10, min(200, int(100 / max(alone, 1e-3))))))

    def graph(self, call: Callable[[], object], steps: int) -> Timing:
        """The median over replays, each started when the one before has ended."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(steps):
                call()
        graph.replay()
        alone = sorted(self._row(graph.replay, 1) for _ in range(15))[7] / steps
        return Timing(alone, self._row(graph.replay, 10) / steps)

    def peak_bytes(self, call: Callable[[], object]) -> int:
        """As PyTorch's allocator counts it."""
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()

    @staticmethod
    def _row(call: Callable[[], object], calls: int) -> float:
        begin, end = _event(), _event()
        torch.cuda.synchronize()
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / calls


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
