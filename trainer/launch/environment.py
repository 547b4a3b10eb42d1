"""The variables by which a process knows which rank it is, as torchrun sets them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Which rank a process is: of all, and of those on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def of_rank(base: Mapping[str, str], place: Place, address: str, port: int) -> dict[str, str]:
    """``base`` with a rank's variables; ``address`` and ``port`` are where rank 0 is met.

    As with torchrun, one of several ranks has one thread where ``OMP_NUM_THREADS`` says nothing
    else: the same number of threads gives the same bits.
    """
    several = {} if place.world == 1 else {"OMP_NUM_THREADS": "1"}
    return {
        **several,
        **base,
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.world),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": str(place.local_world),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def free_port(address: str) -> int:
    """A port of this machine that nobody listens on now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])
