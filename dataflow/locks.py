"""One builder a run folder, and a place for its temporary files."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataflow.store import Store


class BuildError(Exception):
    """The build cannot go on, and says why."""


@contextlib.contextmanager
def only_builder(store: Store) -> Iterator[None]:
    """Keep a second build of the same local run folder out. The lock dies with the process."""
    if store.local is None:
        yield
        return
    lock = store.local / "journal" / "lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a+")
    except OSError as error:
        raise BuildError(f"{store.uri}: cannot be a run folder: {error}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"{store.uri}: another build is working on this run folder; wait for it "
                f"(`python -m dataflow status {store.uri}`) or choose another --out"
            ) from None
        yield


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[str]:
    """A local folder for temporary files: inside the run folder when that is local."""
    if store.local is not None:
        folder = store.local.resolve() / "work" / "scratch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="leyden-"))
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
