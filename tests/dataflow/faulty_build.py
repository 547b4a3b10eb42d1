"""Builds that stop dead in the middle of a chosen write: what a power cut or ``kill -9`` leaves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from dataflow.build import build
from dataflow.retokenize import retokenize
from dataflow.store import HashingWriter, Store

CRASHED = 9


class _Fault:
    """Counts writes and deletions; the process ends in the one that brings it to zero."""

    def __init__(self, countdown: int, half: bool) -> None:
        self.countdown = countdown
        self.half = half

    def hit(self) -> bool:
        self.countdown -= 1
        return self.countdown == 0


def _die() -> NoReturn:
    os._exit(CRASHED)


def _install(fault: _Fault) -> None:
    create, write = Store.create, Store.write
    create_exclusive, delete = Store.create_exclusive, Store.delete

    @contextlib.contextmanager
    def faulty_create(self: Store, path: str) -> Iterator[HashingWriter]:
        hit = fault.hit()
        if hit and not fault.half:
            _die()
        with create(self, path) as sink:
            yield sink
        if hit:
            target = Path(self.uri, path)
            os.truncate(target, target.stat().st_size // 2)
            _die()

    def faulty_write(self: Store, path: str, data: bytes) -> None:
        if fault.hit():
            if fault.half:
                target = Path(self.uri, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.with_name(f".{target.name}.{os.getpid()}").write_bytes(
                    data[: len(data) // 2]
                )
            else:
                write(self, path, data)
            _die()
        write(self, path, data)

    def faulty_create_exclusive(self: Store, path: str, data: bytes) -> bool:
        if fault.hit():
            create_exclusive(self, path, data[: len(data) // 2] if fault.half else data)
            _die()
        return create_exclusive(self, path, data)

    def faulty_delete(self: Store, path: str) -> None:
        hit = fault.hit()
        if not (hit and fault.half):
            delete(self, path)
        if hit:
            _die()

    patched: dict[str, Any] = {
        "create": faulty_create,
        "write": faulty_write,
        "create_exclusive": faulty_create_exclusive,
        "delete": faulty_delete,
    }
    for name, method in patched.items():
        setattr(Store, name, method)


def run_faulty(
    recipe: str, out: str, countdown: int, half: bool, tokenizer: str | None = None
) -> None:
    """Build (or, with ``tokenizer``, retokenize), and end with ``CRASHED`` in write ``countdown``.

    Runs in a process of its own. ``half``: the file is cut in the middle; else the crash is just
    before or just after the write.
    """
    _install(_Fault(countdown, half))
    if tokenizer is None:
        build(recipe, out, show=False)
    else:
        retokenize(Store(out), tokenizer)
