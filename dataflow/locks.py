"""One builder a run folder, no workers of a dead one, and a place for temporary files.

A builder that is killed leaves workers that go on for a moment. They must not write once another
builder has begun: it may commit a file that they then cut short. So a worker holds a shared lock
while it runs a task, a new builder waits until nobody does, and takes the dead builder's scratch
folder away; a worker that starts a task after that finds no scratch folder and gives up.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from dataflow.store import Store

WORKERS_WAIT = 60
"""Seconds; workers notice their builder's death within one or two."""


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


def _workers_file(folder: Path) -> Path:
    return folder / "journal" / "workers"


@contextlib.contextmanager
def working(store: Store, scratch: str) -> Iterator[None]:
    """Around a task: keep the next builder waiting, and refuse when it has begun already.

    An object store needs none of it: there a file is replaced as a whole.
    """
    if store.local is None:
        yield
        return
    with _workers_file(store.local).open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        if not Path(scratch).is_dir():
            raise BuildError(f"{store.uri}: the build that this task belongs to has ended")
        yield


@contextlib.contextmanager
def _no_workers(folder: Path, uri: str) -> Iterator[None]:
    """Wait until no worker of an earlier build is left."""
    deadline = time.monotonic() + WORKERS_WAIT
    with _workers_file(folder).open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BuildError(
                        f"{uri}: workers of an earlier build, which was killed, are still at "
                        f"work after {WORKERS_WAIT} s; end them (`ps ax | grep ray::`), then go on"
                    ) from None
                time.sleep(0.1)
        yield


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[str]:
    """A local folder for temporary files: inside the run folder when that is local."""
    if store.local is not None:
        above = store.local.resolve() / "work" / "scratch"
        folder = above / uuid.uuid4().hex
        with _no_workers(store.local, store.uri):
            shutil.rmtree(above, ignore_errors=True)
            folder.mkdir(parents=True)
            _remove_torn(store.local)
    else:
        folder = Path(tempfile.mkdtemp(prefix="leyden-"))
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        store.remove_empty("work")


def _remove_torn(folder: Path) -> None:
    """Remove what ``Store.write`` leaves when it is killed before it renames."""
    for parent in (folder, folder / "journal"):
        for torn in parent.glob(".*.[0-9]*"):
            torn.unlink(missing_ok=True)
