"""A bar on standard error with the time that is left, where a person may look at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from trainer.evaluation.likelihood import Progress


@contextlib.contextmanager
def bar(name: str, shown: bool) -> Iterator[Progress]:
    """Told how many of how many are done; nothing is drawn where ``shown`` is false, or standard
    error is no terminal.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not (shown and console.is_terminal)) as drawn:
        task = drawn.add_task(name, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)
