"""Ranks that are processes: forked from one that has imported torch, and so started at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from torch.multiprocessing.spawn import start_processes


def run_ranks(world: int, work: Callable[..., None], *arguments: Any) -> None:
    """``work(rank, world, *arguments)`` in ``world`` processes at once.

    Each imports the module of ``work``, a function of a module's top level, for itself: what they
    are forked from has torch and Triton, which take seconds, and has not touched a GPU.

    Raises:
        torch.multiprocessing.ProcessRaisedException: of the first rank that fails, with its
            traceback; the others are ended.
    """
    multiprocessing.set_forkserver_preload(["kernels.triton_support"])
    start_processes(  # type: ignore[no-untyped-call]
        work, (world, *arguments), nprocs=world, start_method="forkserver"
    )
