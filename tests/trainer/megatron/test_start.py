"""Layouts of ranks and the groups that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch.distributed as dist

from tests.trainer.ranks import RankFailed, run_ranks
from trainer.megatron.start import Layout, start, stop


@pytest.mark.parametrize("field", ["tp", "pp", "ep"])
@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_layout_sizes(field: str, size: object) -> None:
    with pytest.raises(ValueError, match=rf"layout\.{field}: found {size!r}, expected"):
        Layout(**{field: size})  # type: ignore[arg-type]


def test_layout_fits_the_world() -> None:
    Layout(tp=2, pp=2).check(8)
    Layout(tp=2, ep=4).check(4)  # experts lie on tensor-parallel ranks
    with pytest.raises(ValueError, match=r"found 6 ranks, expected a multiple of tp · pp = 4"):
        Layout(tp=2, pp=2).check(6)
    with pytest.raises(ValueError, match=r"found 2 ranks, expected a multiple of ep · pp = 4"):
        Layout(ep=4).check(2)


def _places(layout: Layout) -> dict[str, object]:
    ranks = start(layout, 1)
    total = [None] * ranks.world
    dist.all_gather_object(total, ranks.rank)
    assert total == list(range(ranks.world))
    return asdict(ranks) | {"first": ranks.is_first_stage, "last": ranks.is_last_stage}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (
            Layout(tp=2),
            {"tp_rank": [0, 1], "dp_rank": [0, 0], "dp_size": [1, 1], "expert_dp_size": [2, 2]},
        ),
        (
            Layout(pp=2),
            {"pp_rank": [0, 1], "dp_size": [1, 1], "first": [True, False], "last": [False, True]},
        ),
        (
            Layout(ep=2),
            {"ep_rank": [0, 1], "dp_rank": [0, 1], "dp_size": [2, 2], "expert_dp_size": [1, 1]},
        ),
        (Layout(), {"rank": [0, 1], "dp_rank": [0, 1], "expert_dp_rank": [0, 1]}),
        (Layout(tp=2, ep=2), {"tp_rank": [0, 1], "ep_rank": [0, 1], "expert_dp_size": [1, 1]}),
    ],
)
def test_places(layout: Layout, expected: dict[str, list[object]]) -> None:
    found = run_ranks(_places, 2, layout)
    assert {name: [place[name] for place in found] for name in expected} == expected


def _alone() -> tuple[int, int]:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        del os.environ[name]
    with pytest.raises(ValueError, match="found 1 ranks, expected a multiple"):
        start(Layout(tp=2), 1)
    ranks = start(Layout(), 1)
    with pytest.raises(RuntimeError, match="already started"):
        start(Layout(), 1)
    stop()
    stop()
    assert not dist.is_initialized()
    again = start(Layout(), 2)
    os.environ["WORLD_SIZE"] = "2"
    stop()
    with pytest.raises(ValueError, match="RANK: found None in the environment"):
        start(Layout(), 1)
    os.environ["RANK"] = "one"
    with pytest.raises(ValueError, match="RANK: found 'one' in the environment"):
        start(Layout(), 1)
    return ranks.world, again.world


def test_a_single_process_needs_no_environment() -> None:
    assert run_ranks(_alone, 1) == [(1, 1)]


def test_a_process_that_has_imported_nothing_starts() -> None:
    """Not forked from one that has imported Megatron-Core, as the other tests' are."""
    program = """
from trainer.megatron.start import Layout, start, stop
print(start(Layout(), 1).world)
stop()
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "1\n"), found.stderr


def _fail(rank: str) -> None:
    if os.environ["RANK"] == rank:
        raise OSError(f"of rank {rank}")
    start(Layout(), 1)  # waits for the one that is gone


def test_run_ranks_raises_what_a_rank_raises() -> None:
    with pytest.raises(RankFailed, match=r"rank 1 of 2:\n(.|\n)*OSError: of rank 1"):
        run_ranks(_fail, 2, "1")
    with pytest.raises(RankFailed, match="found no answer in time"):
        run_ranks(_fail, 2, "", seconds=-1)
    with pytest.raises(RankFailed, match="ended with exit code 3, no answer"):
        run_ranks(os._exit, 1, 3)
