"""Where tasks run: in this process, or on a pool of Ray actors. Only this file knows Ray.

What goes to a worker is a job (keys, paths, parameters), what comes back is a journal record; no
text passes through Ray's object store, which is therefore capped at its smallest. An actor lives as
long as the build, so that compiled passes and models are loaded once a process.

A task that a worker did not survive is run again on another one: tasks are pure and commit under
their key, so running one twice is harmless. A task that kills its worker ``MAX_ATTEMPTS`` times
ends the build with its name.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import psutil
import pyarrow as pa

from dataflow.code import ROOT
from dataflow.journal import Record
from dataflow.tasks import Job, run_job

MAX_ATTEMPTS = 4
HEALTH_SECONDS = 10.0
"""How long to wait for a task before looking whether Ray itself still lives."""

OBJECT_STORE_BYTES = 80 << 20
"""Ray refuses less than 75 MiB."""


class TaskFailed(Exception):
    """A task raised, or took its worker down with it every time."""

    def __init__(self, job: Job, cause: str) -> None:
        super().__init__(f"{job.step} {job.name}: {cause}")
        self.job = job
        self.cause = cause


class Executor(Protocol):
    """Runs jobs, several at once, and hands back each record as it is committed."""

    workers: int

    def submit(self, job: Job) -> None:
        """Accept a job; at most ``free`` of them at a time."""

    @property
    def free(self) -> int:
        """How many jobs would be started now."""

    def wait(self) -> Iterator[tuple[Job, Record]]:
        """Block until at least one job is done; yield those that are."""

    def close(self) -> None:
        """Give the workers back."""


class InProcess:
    """One job at a time in the calling process, for debugging and for small tests."""

    workers = 1

    def __init__(self) -> None:
        self._job: Job | None = None

    @property
    def free(self) -> int:
        return 0 if self._job else 1

    def submit(self, job: Job) -> None:
        self._job = job

    def wait(self) -> Iterator[tuple[Job, Record]]:
        job, self._job = self._job, None
        if job is None:
            return
        try:
            record = run_job(job)
        except Exception as error:
            raise TaskFailed(job, f"{type(error).__name__}: {error}") from error
        yield job, record

    def close(self) -> None:
        pass


class RayPool:
    """A pool of Ray actors, one task each at a time.

    Parameters
    ----------
    workers : int
        Actors, each with one CPU.
    address : str, optional
        A running cluster; by default a cluster of this machine is started and ended here.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Metrics export starts one more process a node and serves nobody here.
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray = ray
        self.workers = workers
        environment = {
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            # One task, one core: what runs beside it is another task.
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": environment},
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
        }
        if address:
            ray.init(address=address, **options)
        else:
            ray.init(
                address="local",  # else it would join any cluster that this machine runs
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **options,
            )
        self._daemons = [
            (process.name(), process)
            for process in ([] if address else psutil.Process().children(recursive=True))
            if process.name() in ("raylet", "gcs_server")
        ]
        self._actor_class = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        self._idle: list[Any] = [self._actor_class.remote() for _ in range(workers)]
        self._running: dict[Any, tuple[Job, Any]] = {}
        self._attempts: dict[str, int] = {}

    @property
    def free(self) -> int:
        return len(self._idle)

    def submit(self, job: Job) -> None:
        actor = self._idle.pop()
        self._running[actor.run.remote(job)] = (job, actor)

    def wait(self) -> Iterator[tuple[Job, Record]]:
        ray = self._ray
        ready: list[Any] = []
        while not ready:
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=HEALTH_SECONDS)
            if not ready:
                self._check_daemons()
        for reference in ready:
            job, actor = self._running.pop(reference)
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayActorError as error:
                self._retry(job, actor, str(error))
                continue
            except ray.exceptions.RayTaskError as error:
                # What a failed assertion in a Rust library raises is no Exception.
                raise TaskFailed(job, str(error.cause)) from None
            self._idle.append(actor)
            if isinstance(outcome, str):
                raise TaskFailed(job, outcome)
            yield job, cast(Record, outcome)

    def _check_daemons(self) -> None:
        """Raise if a process of the cluster started here is gone: Ray would wait for ever."""
        gone = [
            name
            for name, process in self._daemons
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        ]
        if gone:
            job, _ = next(iter(self._running.values()))
            raise TaskFailed(
                job,
                f"Ray's {' and '.join(gone)} died while it ran; the same command goes on from here",
            )

    def _retry(self, job: Job, actor: Any, why: str) -> None:
        """Start a fresh actor in place of a dead one and give it the same job."""
        attempts = self._attempts[job.key] = self._attempts.get(job.key, 1) + 1
        self._ray.kill(actor)
        if attempts > MAX_ATTEMPTS:
            raise TaskFailed(job, f"its worker died {MAX_ATTEMPTS} times; the last: {why}")
        logging.getLogger(__name__).warning(
            "a worker died while it ran %s %s; trying again (%d of %d)",
            job.step,
            job.name,
            attempts,
            MAX_ATTEMPTS,
        )
        self._idle.append(self._actor_class.remote())
        self.submit(job)

    def close(self) -> None:
        self._ray.shutdown()


class _Worker:
    """The actor: runs one job after another."""

    def run(self, job: Job) -> Record | str:
        # An error comes back as text: Ray would have to pickle it, and not every library's
        # exception survives that.
        try:
            return run_job(job)
        except Exception as error:  # noqa: BLE001 - it is reported, with the task's name
            return f"{type(error).__name__}: {error}"
        finally:
            give_memory_back()


def give_memory_back() -> None:
    """Return to the system what a finished task has freed.

    Allocators keep it for the next task. Workers live as long as the build, so without this each
    grows to the sum of what its different tasks were at their largest.
    """
    pa.default_memory_pool().release_unused()
    if TRIM is not None:
        TRIM(0)


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function that gives free pages back; other C libraries have none."""
    try:
        return cast(Callable[[int], int], ctypes.CDLL(None).malloc_trim)
    except (AttributeError, OSError):
        return None


TRIM = _malloc_trim()


def make_executor(workers: int, address: str | None = None) -> Executor:
    """``workers`` 0: in process; otherwise a Ray pool."""
    if workers == 0:
        return InProcess()
    return RayPool(workers, address)
