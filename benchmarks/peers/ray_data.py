"""Ray Data as a dispatcher: records of strings in, one small piece of work for each, keys out.

Results need no order, progress bars are off, and the cluster has one CPU for each worker of the
pool that it is compared with. Its driver imports are no part of any time given here.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.data  # type: ignore[import-not-found,unused-ignore]

from benchmarks.memory_of import tree_pss
from benchmarks.peers.protocol import serve

OBJECT_STORE_BYTES = 512 << 20
"""More than the blocks here ever fill, so that nothing waits for room."""

IN_FLIGHT = 16
"""Calls that may wait at an actor. Its default of 2 was slower on two cores, 64 no faster."""

Item = dict[str, str]


def work(item: Item) -> Item:
    """Copy a small file durably, or do nothing when the item names none."""
    if item["source"]:
        data = Path(item["source"]).read_bytes()
        with Path(item["target"]).open("wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
    return {"key": item["key"], "target": item["target"]}


class Worker:
    """``work`` as an actor, called with batches: columns of strings by name."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        rows = zip(*(column.tolist() for column in batch.values()), strict=True)
        done = [work(dict(zip(batch, row, strict=True))) for row in rows]
        return {name: [item[name] for item in done] for name in ("key", "target")}


def _pool(workers: int) -> Any:
    return ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=IN_FLIGHT)


def _tasks(items: list[Item], workers: int) -> Any:
    data = ray.data.from_items(items, override_num_blocks=len(items))
    return data.map(work, compute=ray.data.TaskPoolStrategy(size=workers))


def _actors(items: list[Item], workers: int) -> Any:
    data = ray.data.from_items(items, override_num_blocks=len(items))
    return data.map_batches(Worker, batch_size=1, zero_copy_batch=True, compute=_pool(workers))


def _groups(items: list[Item], workers: int) -> Any:
    data = ray.data.from_items(items)
    return data.map_batches(Worker, batch_size=None, zero_copy_batch=True, compute=_pool(workers))


CONFIGURATIONS: dict[str, Callable[[list[Item], int], Any]] = {
    "tasks": _tasks,
    "actors": _actors,
    "groups": _groups,
}
"""``tasks``: a Ray task for each item. ``actors``: a call of an actor for each item. ``groups``: a
call for each block as Ray Data cuts them by default, which is 200 of them when items are more."""


def _items(folder: str, count: int) -> list[Item]:
    """The items; ``folder`` has ``in`` and ``out``, and is empty for items without work."""
    names = [f"part-{number:06d}" for number in range(count)]
    return [
        {
            "step": "dispatch",
            "name": name,
            "key": f"{number:032x}",
            "source": f"{folder}/in/{name}" if folder else "",
            "target": f"{folder}/out/{name}" if folder else "",
        }
        for number, name in enumerate(names)
    ]


def start(configuration: str, workers: int) -> dict[str, Any]:
    """Start a cluster of this machine; seconds until the first result of an empty item is here."""
    begun = time.perf_counter()
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    results = iter(CONFIGURATIONS[configuration](_items("", workers), workers).iter_rows())
    next(results)
    taken = time.perf_counter() - begun
    for _ in results:
        pass
    return {"seconds": taken, "version": ray.__version__}


def dispatch(configuration: str, workers: int, folder: str, count: int) -> dict[str, Any]:
    """Send items through; ``seconds`` between the first results and the last, ``items`` in them.

    Raises
    ------
    RuntimeError
        If results are missing or doubled.
    """
    dataset = CONFIGURATIONS[configuration](_items(folder, count), workers)
    keys: list[str] = []
    first, begun = 0, 0.0
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        keys.extend(batch["key"].tolist())
        if not first:
            first, begun = len(keys), time.perf_counter()
    taken = time.perf_counter() - begun
    if len(keys) != count or len(set(keys)) != count:
        raise RuntimeError(f"{len(keys)} results, {len(set(keys))} of them distinct, of {count}")
    return {"seconds": taken, "items": count - first}


def pss() -> dict[str, Any]:
    """Bytes of PSS over this process and the cluster that it started."""
    return {"bytes": tree_pss(os.getpid())}


def stop() -> dict[str, Any]:
    """End the cluster."""
    ray.shutdown()
    return {}


if __name__ == "__main__":
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    serve({"start": start, "dispatch": dispatch, "pss": pss, "stop": stop})
