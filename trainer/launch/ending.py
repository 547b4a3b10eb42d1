"""How a rank's process ended, as it wrote down itself or as its exit status tells."""

from __future__ import annotations

import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

Kind = Literal["done", "refused", "crashed", "lost", "died", "followed"]


@dataclass(frozen=True)
class Ending:
    """How a rank ended.

    Attributes:
        kind: ``done``, whatever the code; ``refused`` by an error whose text says all; ``crashed``
            by any other exception; ``lost`` with the machine it was on; ``died`` without a word;
            ``followed`` another rank that was gone.
        code: what the process exited with, or minus the signal that ended it.
        text: the error, None where it is done. For a crash its traceback, for a death the last that
            the process wrote.
    """

    kind: Kind
    code: int
    text: str | None = None

    @property
    def is_failure(self) -> bool:
        """Whether the other ranks would wait for this one in vain."""
        return self.kind != "done"

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        part = path.with_suffix(".part")
        part.write_bytes(orjson.dumps(asdict(self)))
        part.replace(path)

    @classmethod
    def of_process(cls, path: Path, code: int, last_words: str) -> Ending:
        """What a process saved at ``path``, or else what its exit status tells.

        A process that a signal ended after it had saved an ending was not done: the signal is told.
        """
        if path.exists():
            said = cls(**orjson.loads(path.read_bytes()))
            if said.is_failure or said.code == code:
                return said
        return cls("died", code, last_words)


def how_it_died(code: int) -> str:
    """An exit status in words, such as ``SIGKILL``."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (is the machine short of memory?)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"
