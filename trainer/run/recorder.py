"""What the first rank writes of a run: metrics, the step ledger, and steps that were bad."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import orjson
import psutil
import torch

from mixtures.plan import Plan
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.ledger import StepLedger
from trainer.data.origins import origins
from trainer.data.state import Ranges
from trainer.flops import count_flops, datasheet_rate, utilisation
from trainer.guards import Finding
from trainer.logs import Logs
from trainer.megatron.start import Ranks
from trainer.run.batch import BatchResult
from trainer.run.request import Request
from trainer.stages import schedule
from trainer.stages.schedule import Step

LEDGER = "steps.jsonl"
MATMUL = 8192
"""Rows and columns of the bf16 product whose rate the matmul efficiency is measured against."""


class Recorder:
    """Writes on rank 0, and on the others does nothing.

    Args:
        request, plan, corpus, ranks: of the run.
        done, tokens: steps and tokens done before, by the checkpoint.
        last: the step that this run goes to.
    """

    def __init__(
        self,
        request: Request,
        plan: Plan,
        corpus: Corpus,
        ranks: Ranks,
        done: int,
        tokens: int,
        last: int,
    ) -> None:
        self._request, self._plan, self._corpus, self._ranks = request, plan, corpus, ranks
        self._vocabulary = request.model.vocab_size or corpus.vocab_size
        on_gpu = ranks.device.type == "cuda"
        self._peak = datasheet_rate(torch.cuda.get_device_name(ranks.device)) if on_gpu else None
        self._matmul = _matmul_rate(ranks.device) if on_gpu else None
        self._logs: Logs | None = None
        self._ledger: StepLedger | None = None
        if ranks.rank == 0:
            self._logs = Logs(
                request.out,
                request.stage.name,
                last,
                schedule.tokens_at(request.stage, last),
                done=done,
                tokens=tokens,
                json=request.json,
                wandb=request.wandb,
                config=request.model.model_dump(mode="json"),
            )
            self._ledger = StepLedger(request.out / LEDGER)
        self._since = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._logs is not None:
            self._logs.close()

    def step(
        self,
        now: Step,
        begin: int,
        sequences: int,
        result: BatchResult,
        norm: float,
        norms: dict[str, float],
        batches: Batches,
        skipped: Ranges,
    ) -> None:
        """A step that was taken, or skipped: its time has all in it since the step before."""
        if self._logs is None or self._ledger is None:
            return
        self._ledger.append(now.step + 1, begin, sequences, self._plan, skipped)
        numbers = range(begin, begin + sequences)
        segments = [piece.token_length for n in numbers for piece in self._plan[n]]
        drawn = Counter(self._plan.component(n) for n in numbers)
        flops = count_flops(self._request.model, segments, self._vocabulary).training
        ended = time.perf_counter()
        seconds, self._since = ended - self._since, ended
        world, routed = self._ranks.world, result.routed
        slots = routed.slots.sum(1, keepdim=True).clamp_min(1)
        record: dict[str, Any] = {
            "step": now.step + 1,
            "tokens": now.first_token + now.batch_tokens,
            "loss": result.loss,
            "grad_norm": norm,
            "lr": now.rate,
            "tokens_per_second": now.batch_tokens / seconds,
            "mfu": utilisation(flops / seconds, self._peak, world),
            "dropped_tokens": int(routed.dropped.sum()),
            "matmul_efficiency": utilisation(flops / seconds, self._matmul, world),
            "tflops_per_device": flops / seconds / world / 1e12,
            "seconds": seconds,
            "wait_seconds": batches.last_wait_seconds,
            "labels": result.labels,
            "segments": len(segments),
            "aux_loss": float(routed.aux.sum()),
            "drop_rate": float(routed.dropped.sum() / slots.sum()),
            # 1 where every expert is chosen equally often, E where all choose one.
            "router_imbalance": float((routed.slots / slots).max() * routed.slots.shape[1]),
            "grad_norms": norms,
            "mixture": {name: drawn[name] / sequences for name in self._plan.components},
            "memory_bytes": self._memory(),
        }
        self._logs.step(record)

    def bad(self, number: int, begin: int, sequences: int, finding: Finding) -> None:
        """A bad step, with what was in it, to ``bad_steps.jsonl``."""
        if self._logs is None:
            return
        numbers = {p.document for i in range(begin, begin + sequences) for p in self._plan[i]}
        known = origins(self._corpus.run, numbers)
        line = {
            "step": number,
            "what": finding.what,
            "action": finding.action,
            "sequences": [begin, begin + sequences],
            "documents": [asdict(known[n]) for n in sorted(numbers)],
        }
        path = self._request.out / "bad_steps.jsonl"
        with path.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        told = f"step {number}: {finding.what}; {finding.action}; its documents are in {path}"
        self._logs.say("bad_step", told, step=number, action=finding.action)

    def sync(self) -> None:
        """Metrics on the disk, before a checkpoint claims their steps."""
        if self._logs is not None:
            self._logs.sync()

    def saved(self, number: int) -> None:
        """A checkpoint was made; its time belongs to no step."""
        if self._logs is not None:
            self._logs.say("checkpoint", f"checkpoint of step {number}", step=number)

    def _memory(self) -> int:
        if self._ranks.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._ranks.device))
        return int(psutil.Process().memory_info().rss)


def _matmul_rate(device: torch.device) -> float:
    """FLOP/s of a bf16 product of 8192 by 8192 on this device, the best of ten."""
    a = torch.randn(MATMUL, MATMUL, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        begun, ended = _event(), _event()
        begun.record()
        a @ a
        ended.record()
        ended.synchronize()
        best = min(best, begun.elapsed_time(ended))
    return 2 * MATMUL**3 / (best * 1e-3)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
