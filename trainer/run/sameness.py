"""Whether a run's folder, and that of the stage before, are what a run may go on from.

Asked before anything is written: a run that is refused leaves both as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.megatron import checkpoints
from trainer.run.request import CHECKPOINTS, Request, RunRefused, differences


def ended(folder: Path) -> dict[str, Any] | None:
    """The state of the last checkpoint of a finished run; None where it is not finished.

    Raises:
        CheckpointBroken: there were checkpoints, and none is whole.
    """
    last = checkpoints.latest(folder / CHECKPOINTS)
    if last is None:
        return None
    state = checkpoints.read_state(folder / CHECKPOINTS, last)
    return state if state["finished"] else None


def check_own(request: Request, mine: Mapping[str, Any]) -> None:
    """Check that the folder's checkpoint, where it has one, is of what is asked for.

    Args:
        mine: parts of ``request.identity`` that are known; others are not compared.

    Raises:
        RunRefused: it is of something else.
    """
    last = checkpoints.latest(request.checkpoints)
    if last is None:
        return
    found = checkpoints.read_state(request.checkpoints, last)["identity"]
    unlike = differences({name: found.get(name) for name in mine}, dict(mine))
    if unlike:
        raise RunRefused(
            f"{request.out}: found a run of something else; " + "; ".join(unlike) + "; name "
            "another --out, or ask for what was asked for then"
        )


def check_predecessor(request: Request, before: Path, mine: Mapping[str, Any]) -> None:
    """Check that the stage before is finished, sound, and of the same model and tokenizer.

    Raises:
        RunRefused: it is not.
    """
    state = ended(before)
    if state is None:
        raise RunRefused(f"{before}: found no finished run, expected the stage before's")
    if state.get("diverged"):
        raise RunRefused(
            f"{before}: found {state['diverged']} in its last step, expected a run that has not "
            "diverged; make it again with a smaller --rate or a stricter guard, or name another "
            "run by --start-from"
        )
    for part in ("model", "tokenizer"):
        unlike = differences(state["identity"][part], mine[part], part)
        if unlike:
            raise RunRefused(
                f"{before}: found a run of another {part}; " + "; ".join(unlike) + f"; start "
                f"{request.stage.name} from a run of the same {part}"
            )
