"""Runs jobs over a Ray cluster: actors that each hold a warm worker. All that knows of Ray here.

The machines share the code, the corpus and the study's folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mixtures.studies.errors import StudyError
from mixtures.studies.executing import Job, Told, execute
from mixtures.studies.pool import environment_of
from mixtures.studies.worker import WORKER, Hold, Worker

ROOT = Path(__file__).resolve().parents[2]


class _Server:
    """An actor: serves jobs one after another."""

    def __init__(self, logs: str, number: int, folder: str, command: Sequence[str]) -> None:
        os.chdir(folder)  # paths of the study count from there
        # Ray gives an actor its cores and its GPU by variables of its environment.
        environment = {**environment_of(0, 1), **os.environ}
        environment.pop("RANK", None)
        environment.pop("WORLD_SIZE", None)
        self._hold = Hold(
            partial(Worker, Path(logs) / f"worker-{number}.log", environment, command)
        )

    def execute(self, job: Job) -> dict[str, Any]:
        return execute(job, self._hold)

    def close(self) -> None:
        self._hold.close()


def share_of(asked: int | None, gpus: int, cores: int) -> tuple[int, dict[str, float]]:
    """How many actors a cluster gets, and what each holds of it.

    No more than it can hold at once: one that waits for room would keep its job for ever, for no
    actor gives its own up. Several of a GPU have equal parts of it.
    """
    if gpus:
        count = asked or gpus
        return count, {"num_gpus": 1 / -(-count // gpus)}
    return min(asked or cores, cores), {"num_cpus": 1}


class RayPool:
    """Workers of a cluster, a GPU each where it has any, else a core.

    Parameters
    ----------
    address : of the cluster; ``auto``: the one that runs here; ``local``: one that lasts as
        long as the study
    workers : how many, on cores no more than there are; None: as many as there are GPUs or cores
    logs : folder of what the processes write, shared by the machines
    command : what a worker runs; another for tests
    """

    def __init__(
        self, address: str, workers: int | None, logs: Path, command: Sequence[str] = WORKER
    ) -> None:
        try:
            import ray
        except ImportError:
            raise StudyError(
                "--ray: found no Ray in this environment, expected it; install it, or leave --ray "
                "out to train on this machine alone"
            ) from None
        self._ray = ray
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": {"PYTHONPATH": path}},
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }
        if address == "local":
            options |= {"num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise StudyError(
                f"--ray {address}: found no Ray cluster to join: {error}; start one by `ray start "
                "--head`, or leave --ray out to train on this machine alone"
            ) from error
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        count, needs = share_of(workers, gpus, int(has.get("CPU", 1)))
        self.gpus = gpus
        server = ray.remote(**needs)(_Server)
        self._start = partial(
            server.remote, str(logs.resolve()), folder=str(Path.cwd()), command=tuple(command)
        )
        self._servers = [self._start(number=number) for number in range(count)]

    def run(self, jobs: Sequence[Job], told: Told) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Jobs and their results, in the order in which they end.

        A job whose actor or machine is lost is given to a new one, twice at most.
        """
        ray = self._ray
        waiting, free = list(reversed(jobs)), list(range(len(self._servers)))
        running: dict[Any, tuple[int, Job]] = {}
        lost: dict[str, int] = {}
        while waiting or running:
            while waiting and free:
                number, job = free.pop(), waiting.pop()
                running[self._servers[number].execute.remote(job)] = number, job
            (done,), _ = ray.wait(list(running), num_returns=1)
            number, job = running.pop(done)
            free.append(number)
            try:
                result = ray.get(done)
            except ray.exceptions.RayActorError as error:
                lost[job.key] = lost.get(job.key, 0) + 1
                if lost[job.key] > 2:
                    raise StudyError(f"run {job.key}: its Ray actor was lost: {error}") from None
                self._servers[number] = self._start(number=number)
                waiting.append(job)
                continue
            told(job.key, job.tokens)
            yield job, result

    def close(self) -> None:
        """End actors and, with them, their workers: those end when nobody holds them."""
        for server in self._servers:
            self._ray.kill(server)
        self._ray.shutdown()
