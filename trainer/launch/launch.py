"""Whether a run is to be launched, and by what."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trainer.launch.errors import LaunchFailed

WRONG_USAGE = 2


def is_wanted(processes: int | None, address: str | None) -> bool:
    """Whether ranks are to be started, or this process is a rank itself.

    Raises:
        LaunchFailed: torchrun, or another launcher, started this process as one of some other
            number of ranks.
    """
    world = os.environ.get("WORLD_SIZE")
    if world is None and "RANK" not in os.environ:
        return address is not None or (processes or 1) > 1
    if address is not None:
        raise LaunchFailed(
            f"--ray {address}: found RANK or WORLD_SIZE in the environment, as torchrun sets them "
            "for ranks that it started, expected neither; start with --ray, without torchrun",
            WRONG_USAGE,
        )
    if processes is not None and str(processes) != world:
        raise LaunchFailed(
            f"--processes: found {processes}, expected {world}, which is WORLD_SIZE in the "
            "environment as torchrun sets it; leave --processes out under torchrun",
            WRONG_USAGE,
        )
    return False


def launch(
    arguments: Sequence[str], processes: int | None, address: str | None, out: str, *, quiet: bool
) -> int:
    """Run ``python -m trainer`` with ``arguments`` on ``processes`` ranks; their exit code.

    Args:
        arguments: the whole command line; what it says of the launch is left aside by the ranks.
        processes: None for one.
        address: of a Ray cluster, over which the ranks are spread; None for this machine.
        out: the run's folder, which all ranks must see.
        quiet: do not tell what is waited for.

    Raises:
        LaunchFailed: ranks could not be started, or one of them failed.
    """
    # Imported when needed: Ray takes a second.
    if address is None:
        from trainer.launch.local import run_here

        return run_here(processes or 1, arguments)
    from trainer.launch.ray_cluster import run_on_ray

    return run_on_ray(address, processes or 1, arguments, out, quiet=quiet)
