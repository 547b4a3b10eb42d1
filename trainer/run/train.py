"""Trains one stage: checks what is asked for, assembles the parts, and walks the steps."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mixtures.plan import Plan
from trainer.data.batches import Batches
from trainer.data.corpus import Corpus
from trainer.data.pictures import image_token_of
from trainer.data.tokenizers import tokenizer_of
from trainer.guards import Guard
from trainer.megatron import checkpoints, start
from trainer.megatron.optimizer import (
    OptimizerSettings,
    build_optimizer,
    wrap,
)
from trainer.models.build import build_model
from trainer.preference.held_out import choose_pairs
from trainer.preference.training import PreferenceTraining
from trainer.run.agreement import bad_sequences, of_first
from trainer.run.budget import within_epochs
from trainer.run.drawing import draws_of
from trainer.run.images import check_tiling
from trainer.run.outcome import Outcome
from trainer.run.request import (
    CHECKPOINTS,
    PLANS,
    TOKENIZER,
    Request,
    RunRefused,
    identity,
)
from trainer.run.sameness import check_own, check_predecessor, ended
from trainer.run.walk import Parts, Walk
from trainer.stages import schedule
from trainer.stages.layer_guard import LayerGuard
from trainer.stages.recipe import StageRecipe
from trainer.vision.parts import PARTS, train_only

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


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
        with Corpus.open(request.corpus, verify=request.verify) as corpus:
            stage = of_first(lambda: within_epochs(request.stage, corpus.run, request.corpus))
            parts = _assemble(replace(request, stage=stage), ranks, corpus)
            with parts.batches, parts.preference or nullcontext():
                return Walk(parts).run()
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
    if found is None and before is not None and ended(before) is None:
        raise RunRefused(_missing(request, before))


def _missing(request: Request, before: Path) -> str:
    """That the stage before is not finished, and the command that makes or ends it."""
    name = request.stage.after
    found = f"stage {request.stage.name} starts from {name or before.name}: found no finished run"
    if name is None:
        return f"{found} in {before}; name one by --start-from"
    told = request.make_before or (
        "--stage", name, "--model", request.model.name, "--corpus", request.corpus
    )  # fmt: skip
    begun = checkpoints.latest(before / CHECKPOINTS)
    command = ["python", "-m", "trainer", "run", *told, "--out", str(before)]
    if begun is not None:
        command.append("--resume")
        found += f", but one at step {begun},"
    verb = "make" if begun is None else "finish"
    return f"{found} in {before}; {verb} it by `{shlex.join(command)}`, or say --start-from"


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that read its stage's whole budget."""
    return ended(folder) is not None


def _assemble(request: Request, ranks: start.Ranks, corpus: Corpus) -> Parts:
    stage, model = request.stage, request.model
    check_tiling(model, stage)
    fresh, before = checkpoints.latest(request.checkpoints) is None, request.predecessor
    known = identity(request, corpus=corpus.root, tokenizer=corpus.tokenizer)
    check_own(request, known)
    if fresh and before is not None:
        check_predecessor(request, before, known)
    if model.vocab_size is not None and model.vocab_size < corpus.vocab_size:
        raise RunRefused(
            f"model {model.name}: found vocab_size {model.vocab_size}, the corpus's tokenizer has "
            f"{corpus.vocab_size} entries; leave it out to take the tokenizer's"
        )
    former = _former(request)
    plan = _plan(request, ranks, corpus, former, known)
    mine = {**known, "plan": plan.hash}
    if ranks.rank == 0:
        # So that what comes of the run can be used without the corpus.
        tokenizer_of(corpus.run).save(request.out / TOKENIZER)
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
            image_token=None if model.vision is None else image_token_of(corpus.run),
            device=ranks.device,
        )
        if set(stage.train) != set(PARTS):
            train_only(network, stage.train)
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
    guard, layer_guard = Guard(stage.guard), LayerGuard(stage.layer_guard)
    optimizer, state = None, dict[str, Any]()
    keep = stage.keep_optimizer and (former is None or set(former.train) == set(stage.train))
    if fresh and before is not None and not keep:
        state = _start_from(before, chunks, None)
        before = None
    optimizer = build_optimizer(chunks, settings)
    if fresh and before is not None:
        state = _start_from(before, chunks, optimizer)
    # What was imported has none.
    if "guard" in state and (former is None or _is_alike(former, stage)):
        # A short stage would end before its guards have seen enough to judge by.
        guard.restore(state["guard"])
        layer_guard.restore(state["layer_guard"])
    micro_batch = _micro_batch(request, ranks)

    def batches_of(read: Plan) -> Batches:
        is_plan = read is plan  # else held-out pairs, which are read in equal steps
        return Batches(
            read,
            corpus,
            dp_rank=ranks.dp_rank,
            dp_size=ranks.dp_size,
            micro_batch_sequences=micro_batch,
            on_bad_shard=request.on_bad_shard if is_plan else "skip",
            sequences_at=(lambda n: _sequences_at(stage, n)) if is_plan else None,
            agree=lambda own: bad_sequences(own, ranks.device),
            shows=ranks.is_first_stage,
            pin=ranks.device if ranks.device.type == "cuda" else None,
        )

    batches = batches_of(plan)
    preference = None
    if stage.objective is not None:
        with ExitStack() as opened:
            opened.enter_context(batches)
            preference = _preference(request, ranks, plan, corpus, batches, batches_of)
            opened.enter_context(preference)
            preference.begin(chunks, _weights(request), _reference_of(request))
            opened.pop_all()  # closed at the end of the run
    return Parts(
        request, ranks, corpus, plan, batches, chunks, optimizer, mine, former,
        guard, layer_guard, preference,
    )  # fmt: skip


def _is_alike(former: StageRecipe, stage: StageRecipe) -> bool:
    """Whether losses of one stage say anything about those of another."""
    return (former.tiling, former.objective, former.draws) == (
        stage.tiling, stage.objective, stage.draws,
    )  # fmt: skip


def _preference(
    request: Request,
    ranks: start.Ranks,
    plan: Plan,
    corpus: Corpus,
    batches: Batches,
    batches_of: Callable[[Plan], Batches],
) -> PreferenceTraining:
    asked = request.stage.objective
    stop = None if asked is None else asked.early_stop
    held_out = None
    if stop is not None:
        most = stop.pairs
        held_out = of_first(lambda: choose_pairs(corpus.run, plan, most))
    return PreferenceTraining(request, ranks, plan, corpus.eod, batches, batches_of, held_out)


def _weights(request: Request) -> Any:
    """What tells the weights that a stage starts from: its seed, or the last state of the stage
    before, with the losses that its guards saw. None once the run has a checkpoint of its own."""
    before = request.predecessor
    if checkpoints.latest(request.checkpoints) is not None:
        return None
    if before is None:
        return [request.seed, request.model.model_dump(mode="json", exclude={"stages"})]
    return ended(before)


def _reference_of(request: Request) -> str | None:
    """The hash of the reference that the last checkpoint goes with; None without a checkpoint."""
    last = checkpoints.latest(request.checkpoints)
    if last is None:
        return None
    return str(checkpoints.read_state(request.checkpoints, last)["preference"]["reference"])


def _former(request: Request) -> StageRecipe | None:
    """The stage whose mixture this one goes over from.

    A run that goes on has it in its own state, and needs the former run's folder no more.
    """
    last = checkpoints.latest(request.checkpoints)
    mine = {} if last is None else checkpoints.read_state(request.checkpoints, last)
    if "former" in mine:
        found = mine["former"]
        return None if found is None else StageRecipe.model_validate(found)
    before = request.predecessor
    state = None if before is None else ended(before)
    return None if state is None else StageRecipe.model_validate(state["identity"]["stage"])


def _plan(
    request: Request,
    ranks: start.Ranks,
    corpus: Corpus,
    former: StageRecipe | None,
    known: dict[str, Any],
) -> Plan:
    """The stage's plan, compiled by the first rank in the run's folder; ``known``: its identity.

    Raises:
        RunRefused: the run has gone on by another plan; this one is not left there.
    """
    stage, folder = request.stage, request.out / PLANS

    def compiled() -> Plan:
        spec = draws_of(
            stage,
            request.model,
            corpus.run,
            seed=request.seed,
            epochs=request.epochs,
            before=former,
        )
        there = set(folder.glob("*"))
        plan = Plan.compile(request.corpus, spec, request.mixture, out=folder)
        try:
            check_own(request, {**known, "plan": plan.hash})
        except RunRefused:
            if plan.folder not in there:
                shutil.rmtree(plan.folder)
            raise
        return plan

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


def _start_from(before: Path, chunks: list[Any], optimizer: Any) -> dict[str, Any]:
    """Weights, and the optimizer's states where there is one, of the stage before; its state."""
    last = checkpoints.latest(before / CHECKPOINTS)
    if last is None:
        raise RunRefused(f"{before}: found no finished run, expected the stage before's")
    return checkpoints.load(before / CHECKPOINTS, last, chunks, optimizer)


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
