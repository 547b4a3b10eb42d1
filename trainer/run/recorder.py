"""What the first rank writes of a run: metrics, the step ledger, and steps that were bad."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import orjson
import psutil
import pyarrow as pa
import torch

from dataflow.run import RunError
from mixtures.plan import Plan
from trainer.closing import Closing
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.errors import DataError
from trainer.data.ledger import StepLedger
from trainer.data.origins import origins
from trainer.data.sources import Sources
from trainer.data.state import Ranges
from trainer.flops import count_flops, datasheet_rate, utilisation
from trainer.guards import Finding
from trainer.logs import Logs
from trainer.megatron.start import Ranks
from trainer.preference.early_stop import Measured
from trainer.run.batch import BatchResult
from trainer.run.request import Request
from trainer.stages import schedule
from trainer.stages.schedule import Step

LEDGER = "steps.jsonl"
MATMUL = 8192
"""Rows and columns of the bf16 product whose rate the matmul efficiency is measured against."""


class Recorder(Closing):
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
        self._matmul = matmul_rate(ranks.device) if on_gpu else None
        self._last = last
        self._logs: Logs | None = None
        self._ledger: StepLedger | None = None
        self._sources: Sources | None = None
        if ranks.rank == 0:
            self._sources = Sources(corpus.run, plan.folder.parent)
            self._logs = self._open(done, tokens)
            self._ledger = StepLedger(request.out / LEDGER)
        self._since = time.perf_counter()

    def _open(self, done: int, tokens: int) -> Logs:
        request = self._request
        return Logs(
            request.out,
            request.stage.name,
            self._last,
            schedule.tokens_at(request.stage, self._last),
            done=done,
            tokens=tokens,
            json=request.json,
            wandb=request.wandb,
            config=request.model.model_dump(mode="json"),
        )

    def close(self) -> None:
        """Close the logs."""
        if self._logs is not None:
            self._logs.close()

    def step(
        self,
        now: Step,
        result: BatchResult,
        norm: float,
        norms: dict[str, float],
        batches: Batches,
        skipped: Ranges,
        left_out: str,
        measured: Measured | None = None,
    ) -> None:
        """A step that was taken, or ``left_out``: its time has all in it since the step before.

        ``measured``: what held-out pairs say after it.
        """
        if self._logs is None or self._ledger is None or self._sources is None:
            return
        numbers = self._sequences(now)
        self._ledger.append(
            now.step + 1, numbers.start, len(numbers), self._plan, skipped, left_out
        )
        read = [n for n in numbers if not any(start <= n < stop for start, stop in skipped)]
        drawn = Counter(self._plan.component(n) for n in read)
        pieces = [piece for n in read for piece in self._plan[n]]
        # Without the padding behind documents: what is done for it is of no use.
        segments = [piece.token_length for piece in pieces]
        of_documents = sum(segments)
        if self._request.stage.objective is not None:  # a pair's halves do not see each other
            segments = [half for n in segments for half in (n // 2, n - n // 2)]
        done = count_flops(
            self._request.model,
            segments,
            self._vocabulary,
            tiles=result.tiles,
            features=result.features,
            labels=result.labels,
        )
        flops = done.training_of(self._request.stage.train)
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
            "tokens_per_second_per_device": now.batch_tokens / seconds / world,
            "mfu": utilisation(flops / seconds, self._peak, world),
            "dropped_tokens": int(routed.dropped.sum()),
            "taken": int(not left_out),
            # Of the batch's tokens, those that are of no document or of a bad shard's sequences.
            "padding": 1 - of_documents / now.batch_tokens,
            "document_tokens_per_second": of_documents / seconds,
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
            # What part of its slots each layer gave to each expert.
            "router": [[round(x, 4) for x in layer] for layer in (routed.slots / slots).tolist()],
            # Of the sequences by component, of the documents' tokens by source.
            "mixture": {name: drawn[name] / max(len(read), 1) for name in self._plan.components},
            "sources": self._sources.shares(pieces),
            "memory_bytes": self._memory(),
        }
        if result.further:
            record["preference"] = {"pairs": result.items, **result.further}
        if measured is not None:
            record["held_out"] = measured.as_json()
        self._logs.step(record)

    def left_out(self, now: Step) -> None:
        """A step that is passed over after a rollback: the ledger has it, the metrics do not."""
        if self._ledger is not None:
            numbers = self._sequences(now)
            self._ledger.append(
                now.step + 1, numbers.start, len(numbers), self._plan, left_out="roll_back"
            )

    def roll_back(self, done: int, tokens: int) -> None:
        """The run went back to ``done`` steps: lines of later ones are cut, as on a resume."""
        if self._logs is not None:
            self._logs.close()
            self._logs = self._open(done, tokens)
        self._since = time.perf_counter()  # to load a checkpoint is no step's work

    def bad(self, now: Step, finding: Finding, to: int | None) -> None:
        """A bad step, with what was in it, to ``bad_steps.jsonl``; nothing is cut from there.

        ``to``: the step of the checkpoint that the run goes back to, None where it does not.
        """
        if self._logs is None:
            return
        sequences = self._sequences(now)
        numbers = {p.document for i in sequences for p in self._plan[i]}
        line: dict[str, Any] = {
            "step": now.step + 1,
            "what": finding.what,
            "action": finding.action,
            "sequences": [sequences.start, sequences.stop],
        }
        try:
            known = origins(self._corpus.run, numbers)
            line["documents"] = [asdict(known[n]) for n in sorted(numbers)]
        except (DataError, RunError, OSError, pa.ArrowException) as error:
            # A corpus whose documents are not kept beside its shards is no reason to lose the run.
            line["documents"] = [{"document": n} for n in sorted(numbers)]
            line["unknown"] = f"where they come from cannot be read: {error}"
        if to is not None:
            line["to"] = to
        path = self._request.out / "bad_steps.jsonl"
        with path.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        done = finding.action if to is None else f"{finding.action} to step {to}"
        told = f"step {now.step + 1}: {finding.what}; {done}; its documents are in {path}"
        self._logs.say("bad_step", told, step=now.step + 1, action=finding.action)

    def _sequences(self, now: Step) -> range:
        """Those of the plan that a step reads."""
        length = self._plan.length
        return range(now.first_token // length, (now.first_token + now.batch_tokens) // length)

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


def matmul_rate(device: torch.device) -> float:
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
