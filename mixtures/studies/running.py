"""Runs a study: resolves it, trains and evaluates what is not there yet, writes the results."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mixtures.studies.arms import Arm, resolve_arms, write_mixtures
from mixtures.studies.corpora import Corpora
from mixtures.studies.executing import RESULT, Job, known_result, known_training
from mixtures.studies.keys import file_key, run_key
from mixtures.studies.loading import LoadedStudy, load_study
from mixtures.studies.measuring import make_items, told_of_items
from mixtures.studies.pool import LocalPool, count_gpus, usual_workers
from mixtures.studies.progress import bar_over
from mixtures.studies.repetition import repetition_arms
from mixtures.studies.results import (
    StudyResults,
    lines_of,
    study_content,
    write_results,
    write_study,
)
from mixtures.studies.supply import check_supply
from mixtures.studies.worker import WORKER

STUDIES = Path("runs/studies")
STORE, RUNS = ".runs", "runs"
"""Of all studies' trainings, and of what a study measured of them."""


def run_study(
    study_path: Path,
    *,
    out: Path | None = None,
    workers: int | None = None,
    ray: str | None = None,
    progress: bool = True,
    command: Sequence[str] = WORKER,
) -> StudyResults:
    """Run a study, or go on with it; what is there is not made again.

    Parameters
    ----------
    study_path : its YAML file
    out : its folder; None: ``runs/studies/NAME``, whose studies share their trainings
    workers : processes that train at once; None: the study's, else one a GPU or core
    ray : address of a cluster to train on; None: this machine
    progress : whether a bar is shown on a terminal
    command : what a worker of this machine runs; another for tests

    Returns
    -------
    A line for every planned run, whatever came of it.

    Raises
    ------
    RecipeError
        If the study is wrong, or a corpus cannot give the mixture of an arm.
    StudyError
        If corpus or items cannot be made.
    RunError, PlanError
        If a corpus cannot be read.
    KeyboardInterrupt
        If it is interrupted, or told to end by SIGTERM; its workers have ended then.
    """
    loaded = load_study(study_path)
    study = loaded.recipe
    folder = STUDIES / study.name if out is None else out
    store = (STUDIES if out is None else out) / STORE
    with _interrupted_by_sigterm():
        arms = arms_of(loaded, folder)
        write_mixtures(arms)
        count = workers or study.workers or usual_workers()
        precision = study.precision or ("bf16" if ray is None and count_gpus() else "fp32")
        untrained = [
            arm
            for arm in arms
            if not all(
                known_training(store / key) or (folder / RUNS / key / RESULT).is_file()
                for key in (run_key(arm.identity(seed, precision)) for seed in arm.seeds)
            )
        ]
        check_supply(loaded, untrained, folder)
        items = make_items(
            study.metrics.items,
            study.metrics.held_out,
            [arm.corpus for arm in arms],
            folder / "items",
        )
        jobs, keys = plan_jobs(loaded, arms, precision, items, folder, store)
        content = study_content(study, arms, precision, count, told_of_items(items))
        write_study(folder, content)
        results = {job.key: found for job in jobs if (found := known_result(job)) is not None}
        write_results(folder, lines_of(arms, keys, results))
        waiting = [job for job in jobs if job.key not in results]
        if waiting:
            pool = _pool(ray, workers or study.workers, min(count, len(waiting)), folder, command)
            try:
                with bar_over(waiting, progress) as bar:
                    for job, result in pool.run(waiting, bar.told):
                        results[job.key] = result
                        bar.ended()
                        # In the study's order, whichever ended first.
                        write_results(folder, lines_of(arms, keys, results))
            finally:
                pool.close()
    return StudyResults(folder, content, lines_of(arms, keys, results))


def plan_jobs(
    loaded: LoadedStudy,
    arms: Sequence[Arm],
    precision: str,
    items: tuple[tuple[str, Path], ...],
    folder: Path,
    store: Path,
) -> tuple[list[Job], Mapping[tuple[str, int], str]]:
    """The runs to be made, each once, seed after seed; and the key of each arm and seed."""
    study = loaded.recipe
    keys: dict[tuple[str, int], str] = {}
    jobs: dict[str, Job] = {}
    hashes = [(name, file_key(path)) for name, path in items]
    home = arms[0].corpus
    for place in range(max(len(arm.seeds) for arm in arms)):
        for arm in arms:
            if place >= len(arm.seeds):
                continue
            seed = arm.seeds[place]
            identity = arm.identity(seed, precision)
            key = keys[arm.name, seed] = run_key(identity)
            # All runs read the same held-out text, where its tokens are the run's.
            judge = home if arm.corpus.tokenizer == home.tokenizer else arm.corpus
            held_out = study.metrics.held_out
            if key not in jobs:
                jobs[key] = Job(
                    key=key,
                    store=store / key,
                    folder=folder / RUNS / key,
                    train=arm.train(seed, precision, study.save_every),
                    tokens=arm.tokens,
                    corpus=judge.uri,
                    items=items,
                    held_out=held_out,
                    watch=study.watch,
                    evaluated=run_key([judge.root, hashes, held_out.model_dump(mode="json")]),
                    identity=identity,
                    keep=study.keep_checkpoints,
                )
    return list(jobs.values()), keys


def arms_of(loaded: LoadedStudy, folder: Path) -> list[Arm]:
    """A study's arms, their corpora built; the baseline first, whose corpus is the study's own.

    Parameters
    ----------
    folder : of the study

    Raises
    ------
    RecipeError
        If a mixture, model, stage or corpus' recipe is wrong.
    StudyError
        If a corpus cannot be made.
    """
    corpora = Corpora(folder / "corpora")
    mixtures = folder / "mixtures"
    if loaded.recipe.kind == "repetition":
        return repetition_arms(loaded, corpora, mixtures)
    arms = resolve_arms(loaded, corpora, mixtures)
    return sorted(arms, key=lambda arm: arm.name != loaded.recipe.baseline)


def _pool(
    ray: str | None, asked: int | None, workers: int, folder: Path, command: Sequence[str]
) -> Any:
    logs = folder / "logs"
    if ray is None:
        return LocalPool(workers, logs, command)
    from mixtures.studies.ray_pool import RayPool

    return RayPool(ray, asked, logs, command)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends a study as Ctrl-C does: with its workers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
