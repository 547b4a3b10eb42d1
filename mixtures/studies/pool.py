"""Runs jobs on warm workers of this machine, several at once."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mixtures.studies.executing import Job, Told, execute
from mixtures.studies.store import Stopping
from mixtures.studies.worker import WORKER, Hold, Worker

_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)  # fmt: skip


def count_gpus() -> int:
    """GPUs that a process started here may use, without importing torch."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return len([one for one in said.split(",") if one.strip() and one.strip() != "-1"])
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False)
    except OSError:
        return 0
    return sum(line.startswith(b"GPU ") for line in done.stdout.splitlines())


def usual_workers() -> int:
    """A worker a GPU, or one a core."""
    return count_gpus() or len(os.sched_getaffinity(0))


def environment_of(number: int, workers: int) -> dict[str, str]:
    """Of one of ``workers`` workers: threads for its share of the cores where the environment says
    nothing else, one GPU, and no ranks of a launcher that this process may be one of."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    found = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    }
    found = dict.fromkeys(_THREADS, str(threads)) | found
    gpus = count_gpus()
    if gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        known = seen.split(",") if seen is not None else [str(i) for i in range(gpus)]
        found["CUDA_VISIBLE_DEVICES"] = known[number % gpus].strip()
    return found


class LocalPool:
    """Workers of this machine; each is started with its first job.

    Parameters
    ----------
    workers : how many jobs run at once
    logs : folder of what the processes themselves write
    command : what a worker runs; another for tests
    """

    def __init__(self, workers: int, logs: Path, command: Sequence[str] = WORKER) -> None:
        self._stopping = threading.Event()
        self._holds = []
        for number in range(workers):
            log, environment = logs / f"worker-{number}.log", environment_of(number, workers)
            self._holds.append(Hold(partial(Worker, log, environment, command)))

    def run(self, jobs: Sequence[Job], told: Told) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Jobs and their results, in the order in which they end.

        Raises
        ------
        Exception
            What a job raised, which is a defect: what fails in a run is a result.
        """
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def serve(hold: Hold) -> None:
            while not self._stopping.is_set():
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    ended.put((job, execute(job, hold, told, self._stopping.is_set)))
                except Stopping:
                    return
                except Exception as error:  # noqa: BLE001 - raised where the pool is used
                    ended.put((job, error))

        threads = [threading.Thread(target=serve, args=(hold,)) for hold in self._holds]
        for thread in threads:
            thread.start()
        try:
            for _ in jobs:
                job, result = ended.get()
                if isinstance(result, Exception):
                    raise result
                yield job, result
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()
            self._stopping.clear()

    def close(self) -> None:
        """End the workers."""
        for hold in self._holds:
            hold.close()
