"""The command line of the room: what ``python -m vl_data`` understands.

Exit codes: 0 done, 1 the job failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from quality.endpoint.failures import EndpointError
from vl_data.budget import command as budget
from vl_data.budget.errors import BudgetRefused
from vl_data.labels import command as labels
from vl_data.labels.errors import LabelError
from vl_data.preview import command as preview
from vl_data.preview.errors import PreviewRefused
from vl_data.runs.errors import RunRefused
from vl_data.synthesis import command as synthesis
from vl_data.synthesis.errors import SynthesisError

DONE, FAILED, WRONG_USAGE = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """All commands and their options.

    A command is a module with ``add_commands(add)``; ``add(name, run, text)`` gives the parser of
    one, and ``run(options)`` returns what is printed: line by line, or as the command's ``tell``
    makes text of it (of its ``text``, which machines are not shown).
    """
    root = argparse.ArgumentParser(
        prog="python -m vl_data", description="Images and what is said of them."
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], dict[str, Any]], text: str) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, tell=_lines)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        return sub

    for module in (synthesis, labels):
        module.add_commands(add)
    for module in (budget, preview):
        module.add_command(add)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a person can mend are told in a line."""
    options = parser().parse_args(arguments)
    try:
        answer = options.run(options)
    except (LabelError, SynthesisError, BudgetRefused, PreviewRefused) as error:
        return _fail(options, str(error), WRONG_USAGE)
    except (EndpointError, RunRefused) as error:
        return _fail(options, str(error), FAILED)
    except OSError as error:
        return _fail(options, f"{error.filename}: {error.strerror}", FAILED)
    if options.json:
        answer.pop("text", None)
        found = orjson.dumps({"ok": True, **answer}, option=orjson.OPT_INDENT_2)
        print(found.decode())
    else:
        print(options.tell(answer))
    return DONE


def _lines(answer: Mapping[str, Any]) -> str:
    return "\n".join(f"{name:<10} {_shown(value)}" for name, value in answer.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items() if part is not None)
    return str(value)


def _fail(options: argparse.Namespace, message: str, code: int) -> int:
    if options.json:
        print(orjson.dumps({"ok": False, "error": message}).decode())
    else:
        print(f"error: {message}", file=sys.stderr)
    return code
