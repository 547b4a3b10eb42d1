"""Where ranks meet: on ports that nobody else can have."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest

from tests.trainer.ranks import run_ranks
from trainer.launch.environment import LISTENER, Listener
from trainer.launch.local import HERE
from trainer.megatron import meeting

WAIT = timedelta(seconds=20)


def test_a_port_that_is_kept_is_nobody_elses() -> None:
    with (
        Listener(HERE) as listener,
        socket.socket() as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.bind((HERE, listener.port))


def _meet() -> tuple[int, list[int], bool]:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kept = LISTENER in os.environ
    met = [meeting.store(rank, world, wait).add("ranks", 1) for wait in (WAIT, WAIT, 2 * WAIT)]
    return rank, met, kept


def test_each_start_has_a_store_of_its_own_on_the_launchers_socket() -> None:
    found = run_ranks(_meet, 2)
    assert [(rank, kept) for rank, _, kept in found] == [(0, True), (1, False)]
    # Whoever comes first counts 1, the other 2, in each of three starts.
    assert [sorted(pair) for pair in zip(found[0][1], found[1][1], strict=True)] == [[1, 2]] * 3


def test_ranks_that_are_alone_meet_nobody() -> None:
    stores = [meeting.alone() for _ in range(8)]
    assert [store.add("ranks", 1) for store in stores] == [1] * 8
