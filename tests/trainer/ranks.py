"""Ranks that are processes, started as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from trainer.launch.environment import LISTENER, Listener, Place, of_rank
from trainer.launch.local import HERE
from trainer.megatron import start

# What every rank imports: once, by the process that the ranks are forked from.
_PRELOADED = ("tests.trainer.preloaded",)


class RankFailed(Exception):
    """A rank raised, or ended without an answer: its number, and its traceback."""


def _body(
    function: Callable[..., Any],
    variables: dict[str, str],
    listener: Listener | None,
    folder: str,
    arguments: Any,
) -> None:
    import traceback

    os.environ.update(variables)
    if listener is not None:
        os.environ[LISTENER] = str(listener.detach())
    rank = variables["RANK"]
    torch.set_num_threads(1)
    try:
        answer, failed = function(*arguments), False
    except BaseException:  # noqa: BLE001 - raised again by run_ranks, with this traceback
        answer, failed = traceback.format_exc(), True
    done = Path(folder, f"{rank}.part")
    done.write_bytes(pickle.dumps((answer, failed)))
    done.rename(Path(folder, rank))
    if failed:
        os._exit(1)  # what it holds of process groups may wait for ranks that are gone
    start.stop()


def run_ranks(
    function: Callable[..., Any], world: int, *arguments: Any, seconds: float = 120
) -> list[Any]:
    """What ``function(*arguments)`` returns in each of ``world`` processes, by rank.

    ``function`` is one of a module's top level; it, its arguments and its answers pickle. Each
    process has the variables that the launcher sets, and one thread; process groups that
    ``function`` started are stopped.

    Raises:
        RankFailed: of the rank that fails first, with its traceback, or of one that did not end in
            ``seconds``; the others are ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    with tempfile.TemporaryDirectory() as folder:
        processes: list[BaseProcess] = []
        with Listener(HERE) as listener:
            for rank in range(world):
                variables = of_rank({}, Place(rank, world, rank, world), HERE, listener.port)
                kept = listener if rank == 0 else None
                process: BaseProcess = context.Process(
                    target=_body, args=(function, variables, kept, folder, arguments)
                )
                process.start()
                processes.append(process)
        try:
            return _answers(processes, Path(folder), time.monotonic() + seconds)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _answers(processes: Sequence[BaseProcess], folder: Path, deadline: float) -> list[Any]:
    answers: dict[int, Any] = {}
    while len(answers) < len(processes):
        for rank, process in enumerate(processes):
            if rank in answers:
                continue
            ended = not process.is_alive()  # asked first: an answer is written before the end
            if (folder / str(rank)).exists():
                answer, failed = pickle.loads((folder / str(rank)).read_bytes())
                if failed:
                    raise RankFailed(f"rank {rank} of {len(processes)}:\n{answer}")
                answers[rank] = answer
            elif ended:
                raise RankFailed(f"rank {rank}: ended with exit code {process.exitcode}, no answer")
        if time.monotonic() > deadline:
            waiting = sorted(set(range(len(processes))) - set(answers))
            raise RankFailed(f"ranks {waiting}: found no answer in time; one may wait for another")
        time.sleep(0.01)
    for process in processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
    return [answers[rank] for rank in range(len(processes))]
