"""One voice for ranks that torchrun started: an error that several have is told by one of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

SECONDS = 5
"""How long a rank waits for the store, and for another one to tell: then it tells by itself."""


def tell_once(text: str, tell: Callable[[], None]) -> None:
    """Call ``tell`` on the first rank that comes here with this text, and on no other.

    A rank that stays silent returns when the other has told: torchrun ends all ranks when one has
    ended. Ranks meet in the store of torchrun's agent, which outlives them; without torchrun, or
    where the store does not answer, every rank tells.
    """
    store = _agents_store()
    if store is None:
        tell()
        return
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    key = "/".join(("told", os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), digest))
    try:
        if store.add(f"{key}/ranks", 1) > 1:
            store.wait([key], timedelta(seconds=SECONDS))
            return
    except RuntimeError:  # the one that was to tell, or the store, is gone
        tell()
        return
    tell()
    store.set(key, b"told")


def _agents_store() -> Any:
    """The store of the agent that started this process; None where there is none, or no answer."""
    variables = os.environ
    if variables.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        return TCPStore(
            variables["MASTER_ADDR"],
            int(variables["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=SECONDS),
            wait_for_workers=False,
        )
    except (RuntimeError, KeyError, ValueError):
        return None
