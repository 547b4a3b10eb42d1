"""The command line of the room: what ``python -m mixtures`` understands.

Exit codes: 0 done, 1 the job failed or the corpus cannot give it, 2 wrong usage or a wrong recipe,
130 it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import orjson

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "plan": "mixtures.plan_command",
    "ablate": "mixtures.studies.command",
    "items": "mixtures.items.command",
}
"""By name, the module whose ``add_command(add)`` makes it. Only the one that is asked for is
imported."""


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands and their options, or those of one."""
    root = argparse.ArgumentParser(
        prog="python -m mixtures",
        description="Mixtures of a corpus: planned, compared by studies, and their test items.",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        return sub

    for name, module in COMMANDS.items():
        if only in (None, name):
            import_module(module).add_command(add)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a person can mend are told in a line."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    asked = given[0] if given and given[0] in COMMANDS else None
    options = parser(asked).parse_args(given)
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        return _fail(options, "interrupted", INTERRUPTED)
    except Exception as error:
        answer = exit_code(error)
        if answer is None:
            raise
        return _fail(options, str(error), answer)
    return code


def _fail(options: argparse.Namespace, text: str, code: int) -> int:
    if options.json:
        sys.stdout.write(orjson.dumps({"ok": False, "error": text}).decode() + "\n")
    else:
        sys.stderr.write(f"error: {text}\n")
    return code


def exit_code(error: Exception) -> int | None:
    """The exit code of an error whose text says all; None for a defect."""
    from dataflow.recipe import RecipeError
    from dataflow.run import RunError
    from mixtures.errors import PlanError

    if isinstance(error, RecipeError):
        return WRONG_USAGE
    return FAILED if isinstance(error, (PlanError, RunError)) else None
