"""Trains one stage: assembles the parts, resumes or starts, and walks the steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from math import gcd
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mixtures.inventory import take_inventory
from mixtures.plan import Plan
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.state import DataState
from trainer.data.tokenizers import tokenizer_of
from trainer.guards import Finding, Guard
from trainer.megatron import checkpoints, start
from trainer.megatron.optimizer import (
    OptimizerSettings,
    StepFailed,
    build_optimizer,
    gradient_norms,
    set_rate,
    step,
    wrap,
)
from trainer.models.build import build_model
from trainer.run.batch import run_batch
from trainer.run.draws import plan_spec
from trainer.run.outcome import Outcome, State
from trainer.run.recorder import Recorder
from trainer.run.request import (
    CHECKPOINTS,
    PLANS,
    TOKENIZER,
    Request,
    RunRefused,
    differences,
    identity,
)
from trainer.run.stopping import listening
from trainer.stages import schedule
from trainer.stages.layer_guard import LayerGuard
from trainer.stages.mixture import check_long_qa
from trainer.stages.recipe import StageRecipe

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class _Parts:
    """What a run is made of, once assembled."""

    request: Request
    ranks: start.Ranks
    corpus: Corpus
    plan: Plan
    batches: Batches
    chunks: list[Any]
    optimizer: Any
    identity: dict[str, Any]
    guard: Guard
    layer_guard: LayerGuard

    @property
    def stage(self) -> StageRecipe:
        return self.request.stage


def train(request: Request) -> Outcome:
    """Run a stage to its end, to ``request.steps``, or until a signal or a guard ends it.

    Every rank calls it and gets the same outcome; the process groups are started and stopped
    inside.

    Raises:
        RunRefused: the folder holds another run, the stage before is missing, or model and batches
            do not divide over the ranks.
    """
    # What a person mends first is told before anything is started.
    _check_folder(request)
    torch.use_deterministic_algorithms(request.deterministic)
    try:
        ranks = start.start(request.layout, request.seed)
    except ValueError as error:
        raise RunRefused(str(error)) from error
    try:
        parts = _assemble(request, ranks)
        with parts.batches:
            return _walk(parts)
    finally:
        start.stop()


def _check_folder(request: Request) -> None:
    found = checkpoints.latest(request.checkpoints)
    if found is not None and not request.resume:
        raise RunRefused(
            f"{request.out}: found a run at step {found}; say --resume to go on with it, or name "
            "another --out"
        )
    before = request.predecessor
    if found is None and before is not None:
        name = request.stage.after or before.name
        state = _ended(before)
        if state is None:
            raise RunRefused(
                f"stage {request.stage.name} starts from {name}: found no finished run in "
                f"{before}; make it by `python -m trainer run --stage {name} --model "
                f"{request.model.name} --corpus {request.corpus} --out {before}`, or say "
                "--start-from"
            )


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that read its stage's whole budget."""
    return _ended(folder) is not None


def _ended(folder: Path) -> dict[str, Any] | None:
    """The state of the last checkpoint of a finished run."""
    last = checkpoints.latest(folder / CHECKPOINTS)
    if last is None:
        return None
    state = checkpoints.read_state(folder / CHECKPOINTS, last)
    return state if state["finished"] else None


def _assemble(request: Request, ranks: start.Ranks) -> _Parts:
    stage, model = request.stage, request.model
    corpus = Corpus.open(request.corpus)
    plan = _plan(request, ranks, corpus)
    mine = identity(request, corpus=corpus.root, tokenizer=corpus.tokenizer, plan=plan.hash)
    if ranks.rank == 0:
        # So that what comes of the run can be used without the corpus.
        tokenizer_of(corpus.run).save(request.out / TOKENIZER)
    if model.vocab_size is not None and model.vocab_size < corpus.vocab_size:
        raise RunRefused(
            f"model {model.name}: found vocab_size {model.vocab_size}, the corpus's tokenizer has "
            f"{corpus.vocab_size} entries; leave it out to take the tokenizer's"
        )
    try:
        network = build_model(
            model,
            vocab_size=model.vocab_size or corpus.vocab_size,
            sequence_tokens=stage.length,
            rope_base=stage.rope_base,
            parallel=request.layout,
            dtype=DTYPES[request.precision],
            pre_process=ranks.is_first_stage,
            post_process=ranks.is_last_stage,
            recompute=request.recompute,
            seed=request.seed,
            device=ranks.device,
        )
    except ValueError as error:  # sizes that the layout cannot cut, a mixer that is none
        raise RunRefused(str(error)) from error
    chunks = wrap([network], network.config)
    adam = stage.optimizer
    settings = OptimizerSettings(
        beta1=adam.beta1,
        beta2=adam.beta2,
        eps=adam.eps,
        weight_decay=adam.weight_decay,
        clip=adam.clip or 0.0,
        precision=request.precision,
    )
    before = request.predecessor
    fresh = checkpoints.latest(request.checkpoints) is None
    optimizer = None
    if fresh and before is not None and not stage.keep_optimizer:
        _start_from(request, before, chunks, None, mine)
        before = None
    optimizer = build_optimizer(chunks, settings)
    if fresh and before is not None:
        _start_from(request, before, chunks, optimizer, mine)
    batches = Batches(
        plan,
        corpus,
        dp_rank=ranks.dp_rank,
        dp_size=ranks.dp_size,
        micro_batch_sequences=_micro_batch(request, ranks),
        on_bad_shard=request.on_bad_shard,
        sequences_at=lambda n: _sequences_at(stage, n),
    )
    return _Parts(
        request, ranks, corpus, plan, batches, chunks, optimizer, mine,
        Guard(stage.guard), LayerGuard(stage.layer_guard),
    )  # fmt: skip


def _plan(request: Request, ranks: start.Ranks, corpus: Corpus) -> Plan:
    """The stage's plan, compiled by the first rank in the run's folder."""
    stage = request.stage
    before = request.predecessor
    state = None if before is None else _ended(before)
    former = None if state is None else StageRecipe.model_validate(state["identity"]["stage"])

    def compiled() -> Plan:
        inventory = take_inventory(corpus.run, stage.class_length)
        check_long_qa(stage, inventory.sources, request.corpus)
        spec = plan_spec(
            stage,
            inventory,
            sequences=schedule.total_tokens(stage) // stage.length,
            seed=request.seed,
            before=former,
            epochs=request.epochs,
        )
        return Plan.compile(request.corpus, spec, request.out / PLANS)

    told: list[Any] = [None]
    plan = None
    if ranks.rank == 0:
        try:
            plan = compiled()
            told = [str(plan.folder)]
        except Exception as error:  # noqa: BLE001 - told to all ranks, and raised on each
            told = [error]
    dist.broadcast_object_list(told)
    if isinstance(told[0], Exception):
        raise told[0]
    return plan or Plan.open(Path(told[0]))


def _start_from(
    request: Request, before: Path, chunks: list[Any], optimizer: Any, mine: dict[str, Any]
) -> None:
    """Weights, and the optimizer's states where there is one, of the stage before."""
    state = _ended(before)
    last = checkpoints.latest(before / CHECKPOINTS)
    if state is None or last is None:
        raise RunRefused(f"{before}: found no finished run, expected the stage before's")
    for part in ("model", "tokenizer"):
        unlike = differences(state["identity"][part], mine[part], part)
        if unlike:
            raise RunRefused(
                f"{before}: found a run of another {part}; " + "; ".join(unlike) + f"; start "
                f"{request.stage.name} from a run of the same {part}"
            )
    checkpoints.load(before / CHECKPOINTS, last, chunks, optimizer)


def _sequences_at(stage: StageRecipe, first: int) -> int:
    """Sequences of the step that begins with sequence ``first``; behind the end, of the last."""
    token = min(first * stage.length, schedule.total_tokens(stage) - 1)
    return schedule.batch_tokens(stage, token) // stage.length


def _micro_batch(request: Request, ranks: start.Ranks) -> int:
    """Sequences of a micro-batch: as many as asked, or fewer where they divide every batch."""
    common, most = 0, max(1, request.micro_batch // request.stage.length)
    for mark in request.stage.batch:
        sequences = mark.tokens // request.stage.length
        if sequences % ranks.dp_size:
            raise RunRefused(
                f"stage {request.stage.name}: found a batch of {sequences} sequences for "
                f"{ranks.dp_size} data-parallel ranks, expected a multiple; say another --batch, "
                "or use fewer ranks"
            )
        common = gcd(common, sequences // ranks.dp_size)
    return max(n for n in range(1, common + 1) if common % n == 0 and n <= most)


def _resume(parts: _Parts) -> tuple[int, int]:
    """Steps and tokens done before; loads the last checkpoint where there is one."""
    request = parts.request
    last = checkpoints.latest(request.checkpoints)
    if last is None:
        return 0, 0
    state = checkpoints.read_state(request.checkpoints, last)
    unlike = differences(state["identity"], parts.identity)
    if unlike:
        raise RunRefused(
            f"{request.out}: found a run of something else; " + "; ".join(unlike) + "; name "
            "another --out, or ask for what was asked for then"
        )
    checkpoints.load(request.checkpoints, last, parts.chunks, parts.optimizer)
    parts.batches.restore(state["data"])
    parts.guard.restore(state["guard"])
    parts.layer_guard.restore(state["layer_guard"])
    return int(state["step"]), int(state["tokens"])


def _walk(parts: _Parts) -> Outcome:
    """The steps, from where the run stands."""
    request, stage, ranks = parts.request, parts.stage, parts.ranks
    done, tokens = _resume(parts)
    total = schedule.step_count(stage)
    last = total if request.steps is None else min(request.steps, total)
    first = ranks.rank == 0
    recorder = Recorder(parts.request, parts.plan, parts.corpus, ranks, done, tokens, last)
    loss: float | None = None
    stopped, why = False, ""
    saved = done if done else None
    saving: checkpoints.Saving | None = None
    with listening() as asked, recorder:
        for now in islice(schedule.steps(stage, done), max(last - done, 0)):
            begin = now.first_token // stage.length
            sequences = now.batch_tokens // stage.length
            result = run_batch(
                parts.chunks,
                parts.batches.step(begin, sequences),
                ranks=ranks,
                layers=request.model.layers,
                train=True,
            )
            norms = gradient_norms(parts.optimizer, parts.chunks)
            norm = sum(x * x for x in norms.values()) ** 0.5
            finding = parts.guard.judge(result.loss, norm) or parts.layer_guard.judge(norms)
            action = _act(parts, finding, now.rate)
            if finding is not None:
                recorder.bad(now.step + 1, begin, sequences, finding)
            if action == "stop":
                stopped, why = True, f"step {now.step + 1}: {finding.what}" if finding else ""
                break
            loss, done, tokens = result.loss, now.step + 1, now.first_token + now.batch_tokens
            data = _data_state(parts)
            recorder.step(now, begin, sequences, result, norm, norms, parts.batches, data.skipped)
            writing = saving is not None and not saving.is_written
            ending, writing = asked.anywhere(ranks.device, busy=writing)
            if saving is not None and not writing:
                saved, saving = _saved(saving, recorder), None
            if done % request.save_every == 0 or ending or done == last:
                if saving is not None:
                    saved = _saved(saving, recorder)
                recorder.sync()
                saving = _save(parts, done, tokens, data, finished=done == total)
            if ending:
                why = "asked to end by a signal"
                break
        if saving is not None:
            saved = _saved(saving, recorder)
    state: State = "finished" if done == total else "paused"
    if stopped:
        state = "stopped"
    place = None if saved is None else str(checkpoints.path_of(request.checkpoints, saved))
    outcome = Outcome(state, stage.name, done, total, tokens, loss, place, why)
    if first:
        (request.out / "outcome.json").write_text(json.dumps(outcome.as_json(), indent=1) + "\n")
    return outcome


def _act(parts: _Parts, finding: Finding | None, rate: float) -> str:
    """Take the step, or do with a bad one as its finding says."""
    if finding is not None and finding.action != "ignore":
        return finding.action
    set_rate(parts.optimizer, rate)
    try:
        step(parts.optimizer)
    except StepFailed:
        return "skip"  # not finite, and ignored: the optimizer left the weights as they were
    return "take"


def _data_state(parts: _Parts) -> DataState:
    """Where the run stands in its data; each rank knows only what it skipped itself."""
    states: list[Any] = [parts.batches.state()]
    if parts.ranks.world > 1:
        states = [None] * parts.ranks.world
        dist.all_gather_object(states, parts.batches.state())
    return DataState.merged(states)


def _saved(saving: checkpoints.Saving, recorder: Recorder) -> int:
    """Make what was written a checkpoint; its step."""
    saving.finish()
    recorder.saved(saving.step)
    return saving.step


def _save(
    parts: _Parts, done: int, tokens: int, data: DataState, *, finished: bool
) -> checkpoints.Saving:
    """Begin to write a checkpoint; training goes on meanwhile."""
    state = {
        "step": done,
        "tokens": tokens,
        "finished": finished,
        "data": data.as_json(),
        "guard": parts.guard.state(),
        "layer_guard": parts.layer_guard.state(),
        "identity": parts.identity,
    }
    return checkpoints.begin(
        parts.request.checkpoints, done, parts.chunks, parts.optimizer, state,
        keep=parts.request.keep,
    )  # fmt: skip
