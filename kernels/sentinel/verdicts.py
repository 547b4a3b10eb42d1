"""Verdicts on file, so that a kernel is checked once per machine and version, not once per process.

A JSON file that a person can read. Processes that start together (one per GPU) read and write it at
will: it is replaced as a whole, never written in place, and a lock keeps two writers from losing
each other's verdicts. What cannot be read counts as nothing known, which costs a check.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # no file locks on this platform: see _locked
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
MOST = 4096
"""Verdicts kept; the oldest go first."""
PATIENCE = 1.0
"""Seconds to wait for another process's lock. Without it, the worst is a verdict that is lost."""


@dataclass(frozen=True)
class Verdict:
    """Whether a kernel may be used.

    ``found``: what is wrong with it, empty when good. ``worst``: the largest error as a share of
    the one allowed; None where nothing could be compared. ``seconds`` the check took.
    """

    good: bool
    found: str = ""
    worst: float | None = None
    seconds: float = 0.0


def default_path() -> Path | None:
    """``leyden/kernel-verdicts.json`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, if there is one."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(given) if given else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "leyden" / "kernel-verdicts.json"


class Verdicts:
    """The file of verdicts at ``path``; with None nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._told = False

    def get(self, identity: Mapping[str, str]) -> Verdict | None:
        """The verdict on exactly this ``identity`` (kernel, versions), if there is one."""
        entry = self._read().get(_key(identity))
        if not isinstance(entry, dict):
            return None
        good, found = entry.get("good"), entry.get("found")
        worst, seconds = entry.get("worst"), entry.get("seconds")
        if not isinstance(good, bool) or not isinstance(found, str):
            return None
        return Verdict(
            good,
            found,
            float(worst) if isinstance(worst, int | float) else None,
            float(seconds) if isinstance(seconds, int | float) else 0.0,
        )

    def put(self, identity: Mapping[str, str], verdict: Verdict) -> None:
        """Keep ``verdict``. Where that is not possible, say so once: every process checks anew."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path.with_suffix(".lock")):
                entries = self._read()
                entries.pop(_key(identity), None)
                entries[_key(identity)] = {**identity, **asdict(verdict)}
                newest = dict(list(entries.items())[-MOST:])
                _replace(self.path, json.dumps({"format": FORMAT, "verdicts": newest}, indent=1))
        except OSError as error:
            if not self._told:
                self._told = True
                warnings.warn(
                    f"verdicts on kernels cannot be kept in {self.path} ({error}), so every "
                    "process checks its kernels again; set XDG_CACHE_HOME to a folder that it can "
                    "write in",
                    stacklevel=2,
                )

    def _read(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            content = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):  # missing, unreadable, cut short, not JSON
            return {}
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return {}
        entries = content.get("verdicts")
        return entries if isinstance(entries, dict) else {}


def _key(identity: Mapping[str, str]) -> str:
    text = json.dumps(dict(sorted(identity.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``; go on without it after :data:`PATIENCE`, or where locks fail."""
    with path.open("a") as file:
        until = time.monotonic() + PATIENCE
        while fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.005)
            except OSError:  # a file system without locks
                break
        yield
