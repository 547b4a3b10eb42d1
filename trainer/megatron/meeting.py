"""The store in which ranks find each other."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from trainer.launch.environment import LISTENER


def alone() -> Store:
    """A store for a process that is the only rank, on a port that the system picks."""
    store: Store = TCPStore("127.0.0.1", 0, 1, is_master=True)
    return store


def store(rank: int, world: int, timeout: timedelta) -> Store:
    """A store for one start, at ``MASTER_ADDR`` and ``MASTER_PORT``.

    torch names the keys of every first group alike: a second start, such as a chain's next stage,
    would find the addresses that the first one left there, and wait for ever.

    Raises ValueError where the environment does not say where to meet.
    """
    place = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    shared = _shared(rank, world, timeout, place)
    return PrefixStore(f"start-{shared.add(f'starts-{rank}', 1)}", shared)


@cache
def _shared(rank: int, world: int, timeout: timedelta, place: tuple[str, str]) -> Store:
    """The store of all starts, kept until the process ends: rank 0 may serve it.

    Rank 0 serves it on the socket that its launcher opened for it, where there is one. Without, as
    under torchrun, it is left to torch.
    """
    listener = os.environ.pop(LISTENER, None)
    if rank or listener is None:
        found: Store = next(rendezvous("env://", rank, world, timeout=timeout))[0]
        return found
    address, port = place
    served: Store = TCPStore(
        address,
        int(port),
        world,
        is_master=True,
        timeout=timeout,
        # A start with another timeout finds the same server.
        multi_tenant=True,
        master_listen_fd=int(listener),
    )
    return served
