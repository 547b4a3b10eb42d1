"""The variables by which a process knows which rank it is, as torchrun sets them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

LISTENER = "LEYDEN_LISTENER"
"""The number of rank 0's open socket, on which it serves the store that ranks meet in."""


@dataclass(frozen=True)
class Place:
    """Which rank a process is: of all, and of those on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int


class Listener:
    """A socket on a port of this machine that nobody else has, for rank 0 to serve.

    It stays open until rank 0 has it: a port that is only known to be free is soon another's, where
    many runs begin at once.

    Attributes:
        port: of this machine.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            self._socket.bind((address, 0))
        except OSError:
            self._socket.close()
            raise
        self.port = int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def number(self) -> int:
        """Of the socket, in this process and in one that inherits it."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let go of it here."""
        self._socket.close()

    def detach(self) -> int:
        """Its number, for somebody else to close."""
        return self._socket.detach()


def of_rank(
    base: Mapping[str, str],
    place: Place,
    address: str,
    port: int,
    listener: Listener | None = None,
) -> dict[str, str]:
    """``base`` with a rank's variables; ``address`` and ``port`` are where rank 0 is met.

    ``listener`` is what rank 0 serves that port on. As with torchrun, one of several ranks has one
    thread where ``OMP_NUM_THREADS`` says nothing else: the same number of threads gives the same
    bits.
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
        **({} if listener is None else {LISTENER: str(listener.number)}),
    }
