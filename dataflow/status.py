"""``status``: how far a build is, told from another terminal."""

from __future__ import annotations

from typing import Any

import orjson

from dataflow.run import RunError
from dataflow.store import Store


def read_status(store: Store) -> dict[str, Any]:
    """What ``journal/progress.json`` says.

    Raises
    ------
    RunError
        If no build was ever started there.
    """
    try:
        status: dict[str, Any] = orjson.loads(store.read("journal/progress.json"))
    except FileNotFoundError:
        raise RunError(
            f"{store.uri}: found no journal/progress.json, expected a run folder that a build "
            "was started in"
        ) from None
    except orjson.JSONDecodeError as error:
        raise RunError(f"{store.uri}: journal/progress.json is damaged: {error}") from None
    return status


def tell(status: dict[str, Any]) -> str:
    """The status as lines of text."""
    lines = [
        f"{status['state']} for {status['seconds']:.0f} s with {status['workers']} workers, "
        f"peak memory {status['peak_pss'] / 2**30:.2f} GiB (PSS)"
    ]
    if status["state"] == "running":
        lines[0] += f", about {status['eta_seconds']:.0f} s to go in the steps known so far"
    for step in status["steps"]:
        rate = step["done_bytes"] / step["seconds"] / 1e6 if step["seconds"] else 0.0
        lines.append(
            f"  {step['step']:<10} {step['done']:>6} of {step['tasks']:<6} "
            f"{step['done_bytes'] / 1e6:>10.1f} MB  {rate:>8.1f} MB/s/core"
        )
    return "\n".join(lines)
