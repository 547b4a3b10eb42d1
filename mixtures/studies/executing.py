"""Trains and evaluates one run by a worker: goes on where it stopped, tries again what was killed.

A training lies in a store under its key, and serves every study that asks for the same: ``train/``
(the trainer's folder), ``attempts.jsonl`` and, once it has ended, ``training.json``. What a study
measured of it lies in the study's folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mixtures.studies.evaluating import bits_per_byte, item_metrics
from mixtures.studies.recipe import HeldOutOf, WatchOf
from mixtures.studies.store import (
    TRAIN,
    TRAINING,
    Stopping,
    alone,
    beside_others,
    drop_weights,
    has_weights,
    read,
    write,
)
from mixtures.studies.watching import Verdict, Watch, read_curve
from mixtures.studies.worker import Ended, Hold, WorkerLost

ATTEMPTS = 3
"""A run that was killed is tried twice again."""

TRIES, EVALUATION, RESULT = "attempts.jsonl", "evaluation.json", "result.json"
FINISHED, FAILED, DIVERGED, KILLED = "finished", "failed", "diverged", "killed"

Told = Callable[[str, int], None]
"""Told of a run's key and the tokens that it has trained."""

_Measured = tuple[str, str, dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """A run to be made.

    ``store`` is the training's folder, ``folder`` the study's of this run. ``train`` are the
    trainer's arguments without its folder; ``evaluated`` the key of what is measured, on
    ``corpus``, with the files of ``items`` by name. ``keep``: whether its weights stay once it has
    been measured.
    """

    key: str
    store: Path
    folder: Path
    train: tuple[str, ...]
    tokens: int
    corpus: str
    items: tuple[tuple[str, Path], ...]
    held_out: HeldOutOf
    watch: WatchOf
    evaluated: str
    identity: dict[str, Any]
    keep: bool = True


def known_result(job: Job) -> dict[str, Any] | None:
    """The result of a run that needs no more work: finished and measured so, or diverged."""
    found = read(job.folder / RESULT)
    if found is None or found["evaluated"] != job.evaluated:
        return None
    return found if found["state"] in (FINISHED, DIVERGED) else None


def known_training(store: Path) -> dict[str, Any] | None:
    """What came of a training that is not gone on with: it finished, or diverged; and its weights
    were kept."""
    found = read(store / TRAINING)
    ended = found is not None and found["state"] in (FINISHED, DIVERGED) and has_weights(found)
    return found if ended else None


def execute(
    job: Job, hold: Hold, told: Told = lambda *_: None, stopping: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Make a run; the result is also written, last of all.

    Raises
    ------
    Stopping
        If ``stopping`` says so before the end.
    """
    if (known := known_result(job)) is not None:
        return known
    job.folder.mkdir(parents=True, exist_ok=True)
    measured = None
    while measured is None:
        with alone(job.store, stopping):
            training = _train(job, hold, told, stopping)
        _link(job.folder / TRAIN, job.store / TRAIN)
        measured = _measured(job, training, hold, stopping)
    state, why, metrics, samples = measured
    curve, final, _ = read_curve(job.store / TRAIN / "metrics.jsonl")
    result = {
        "key": job.key,
        "state": state,
        "why": why,
        "attempts": training["attempts"],
        "tokens": training["tokens"],
        "seconds": training["seconds"],
        "final_loss": final,
        "curve": curve,
        "metrics": metrics,
        "samples": samples,
        "tokenizer": job.identity["tokenizer"],
        "corpus": job.identity["corpus"],
        "evaluated": job.evaluated,
    }
    write(job.folder / RESULT, result)
    if not job.keep and state == FINISHED:
        with alone(job.store, stopping):
            drop_weights(job.store)
    return result


def _measured(
    job: Job, training: dict[str, Any], hold: Hold, stopping: Callable[[], bool]
) -> _Measured | None:
    """State, why, metrics, and samples; None where another study that keeps no weights has deleted
    them since they were trained."""
    if training["state"] != FINISHED:
        return training["state"], training["why"], {}, {}
    with beside_others(job.store, stopping):
        if not has_weights(read(job.store / TRAINING) or {}):
            return None
        return _evaluate(job, hold, stopping)


def _train(job: Job, hold: Hold, told: Told, stopping: Callable[[], bool]) -> dict[str, Any]:
    if (known := known_training(job.store)) is not None:
        told(job.key, job.tokens)
        return known
    folder = job.store / TRAIN
    write(job.store / "identity.json", job.identity)
    argv = (*job.train, "--out", str(folder), "--resume", "--json")
    state, why = KILLED, ""
    for _ in range(ATTEMPTS):
        # A watch of a run that goes on counts from its first step, as if it had never stopped.
        watch = Watch(folder / "metrics.jsonl", job.tokens, job.watch)
        state, why, seconds = _attempt(job, hold, argv, watch, told, stopping)
        with (job.store / TRIES).open("ab") as file:
            line = {"state": state, "why": why, "seconds": seconds, "tokens": watch.tokens}
            file.write(orjson.dumps(line) + b"\n")
        if state != KILLED:
            break
    tries = [orjson.loads(line) for line in (job.store / TRIES).read_bytes().splitlines()]
    curve, _, bad = read_curve(folder / "metrics.jsonl")
    if state == FINISHED and bad is not None:
        state, why = bad.kind, bad.why
    training = {
        "state": state,
        "why": why,
        "attempts": len(tries),
        "tokens": int(curve[-1][0]) if curve else 0,
        "seconds": sum(line["seconds"] for line in tries),
    }
    write(job.store / TRAINING, training)
    return training


def _attempt(
    job: Job,
    hold: Hold,
    argv: tuple[str, ...],
    watch: Watch,
    told: Told,
    stopping: Callable[[], bool],
) -> tuple[str, str, float]:
    """State, why, and seconds of one try of a training."""
    began = time.monotonic()
    out, err = job.store / "train.out", job.store / "train.err"
    out.unlink(missing_ok=True)
    err.unlink(missing_ok=True)

    def look() -> Verdict | None:
        verdict = watch.look()
        told(job.key, watch.tokens)
        return verdict

    try:
        answer = hold.worker().call(argv, out, err, look, stopping)
    except WorkerLost as lost:
        return KILLED, str(lost), time.monotonic() - began
    except Ended as ended:
        seconds = time.monotonic() - began
        if ended.verdict is None:
            raise Stopping from None
        silent = ended.verdict.kind == "silent"
        return KILLED if silent else DIVERGED, ended.verdict.why, seconds
    if answer.crashed:
        hold.replace()
        return FAILED, _last_words(err), answer.seconds
    outcome = _outcome(out)
    if outcome.get("state") == "paused":
        return KILLED, "it was asked to end, and saved", answer.seconds
    if answer.code == 0 and outcome.get("state") == FINISHED:
        told(job.key, job.tokens)
        return FINISHED, "", answer.seconds
    why = outcome.get("why") or outcome.get("error") or _last_words(err)
    guarded = outcome.get("state") == "stopped" and _was_bad(job.store / TRAIN)
    return DIVERGED if guarded else FAILED, why, answer.seconds


def _was_bad(folder: Path) -> bool:
    """Whether a guard found a step of the run bad."""
    path = folder / "bad_steps.jsonl"
    return path.exists() and path.stat().st_size > 0


def _evaluate(job: Job, hold: Hold, stopping: Callable[[], bool]) -> _Measured:
    metrics: dict[str, Any] = {}
    samples: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    usual = (
        "evaluate", str(job.store / TRAIN), "--corpus", job.corpus,
        "--tokens", str(job.held_out.tokens), "--longest", str(job.held_out.longest), "--json",
    )  # fmt: skip
    asked: list[tuple[str, tuple[str, ...]]] = [("loss", (*usual, "--tasks", "loss"))]
    for name, path in job.items:
        asked.append((name, (*usual, "--tasks", "choices", "--choices", str(path))))
    for name, argv in asked:
        state, why, answer = _ask(job, hold, name, argv, stopping)
        if state != FINISHED:
            return state, f"evaluation: {why}", {}, {}
        answers[name] = answer
        try:
            if name == "loss":
                metrics["bits_per_byte"] = bits_per_byte(answer["loss"], job.held_out)
            else:
                found, each = item_metrics(answer["choices"])
                metrics[f"items/{name}"], samples[f"items/{name}"] = found, each
        except ValueError as error:
            return FAILED, f"evaluation: {error}", {}, {}
    write(job.folder / EVALUATION, answers)
    return FINISHED, "", metrics, samples


def _ask(
    job: Job, hold: Hold, name: str, argv: tuple[str, ...], stopping: Callable[[], bool]
) -> tuple[str, str, dict[str, Any]]:
    out, err = job.folder / f"evaluate-{name}.out", job.folder / f"evaluate-{name}.err"
    why = ""
    for _ in range(ATTEMPTS):
        out.unlink(missing_ok=True)
        err.unlink(missing_ok=True)
        try:
            answer = hold.worker().call(argv, out, err, stopping=stopping)
        except WorkerLost as lost:
            why = str(lost)
            continue
        except Ended:
            raise Stopping from None
        found = _outcome(out)
        if answer.code == 0 and found.get("ok"):
            out.unlink()
            err.unlink()
            return FINISHED, "", found
        if answer.crashed:
            hold.replace()
        return FAILED, found.get("error") or _last_words(err), {}
    return KILLED, why, {}


def _outcome(path: Path) -> dict[str, Any]:
    """The last line that a command wrote for machines."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    try:
        found = orjson.loads(lines[-1]) if lines else {}
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _last_words(path: Path) -> str:
    text = path.read_text(errors="replace").strip() if path.exists() else ""
    return text[-600:] or "it ended without a word"


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target.resolve(), target_is_directory=True)
