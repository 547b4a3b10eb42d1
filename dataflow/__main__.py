"""``python -m dataflow``: build a corpus, look at it, check it.

Exit codes: 0 done, 1 the job failed, 2 wrong usage or a recipe that cannot be.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import orjson

from dataflow.store import Store

DONE, FAILED, WRONG_USAGE = 0, 1, 2


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


class WrongUsage(Exception):
    """The command line asks for what cannot be."""


def _recipe_path(text: str) -> Path:
    """The recipe's path, if there is such a file; else an error with the nearest name."""
    path = Path(text)
    if path.is_file():
        return path
    beside = sorted(path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, [p.name for p in beside], 1)
    hint = f"; did you mean {path.parent / near[0]}?" if near else ""
    raise WrongUsage(f"{text}: found no such file, expected a recipe in YAML{hint}")


def _build(options: argparse.Namespace) -> int:
    from dataflow.build import build

    # Ray prints what it has to say of dead workers; standard output is for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        built = build(
            _recipe_path(options.recipe),
            options.out,
            workers=options.workers,
            address=options.address,
            show=not options.json,
        )
    summary = built.summary
    if options.json:
        _print_json({"ok": True, **summary})
        return DONE
    out = options.out or f"runs/{summary['name']}"
    tasks = "nothing to do" if not built.executed else f"{built.executed} tasks run"
    print(f"{out}: {tasks}, {summary['wall_seconds']:.1f} s")
    print(f"  logical root  {summary['logical_root']}")
    print(f"  file root     {summary['file_root']}")
    print(f"  look at       {out}/report.html")
    print(f"  ask           python -m dataflow why {out} DOC_OR_URI")
    return DONE


def _check(options: argparse.Namespace) -> int:
    from dataflow.recipe import describe_plan, plan_recipe, print_plan

    recipe, plans = plan_recipe(_recipe_path(options.recipe))
    plan = describe_plan(recipe, plans, os.cpu_count() or 1)
    if options.json:
        _print_json({"ok": True, **plan})
    else:
        print_plan(plan)
    return DONE


def _status(options: argparse.Namespace) -> int:
    from dataflow.status import read_status, tell

    status = read_status(Store(options.run))
    if options.json:
        _print_json(status)
    else:
        print(tell(status))
    return DONE


def _why(options: argparse.Namespace) -> int:
    from dataflow.run import Run
    from dataflow.unread import tell_unread
    from dataflow.why import MAX_STORIES, NotFound, find_documents, find_unread, story, tell

    run = Run.load(Store(options.run))
    try:
        ids, missing = find_documents(run, options.document), None
    except NotFound as error:
        ids, missing = [], error
    unread = find_unread(run, options.document, ids)
    if missing is not None and not unread:
        raise missing
    stories = [story(run, doc_id) for doc_id in ids[:MAX_STORIES]]
    if options.json:
        _print_json({"found": len(ids), "documents": stories, "unreadable": unread})
    else:
        rows = [tell_unread(row) for row in unread[:MAX_STORIES]]
        print("\n\n".join([*(tell(told) for told in stories), *rows]))
        for found, what in ((ids, "documents"), (unread, "unreadable records")):
            if len(found) > MAX_STORIES:
                print(f"\n{len(found)} {what} have this uri; the first {MAX_STORIES} are shown")
    return DONE


def _verify(options: argparse.Namespace) -> int:
    from dataflow.run import Run
    from dataflow.verify import tell, verify

    found = verify(Run.load(Store(options.run)))
    if options.json:
        _print_json(found.as_json())
    else:
        print(tell(found))
    return FAILED if found.problems else DONE


def _report(options: argparse.Namespace) -> int:
    from dataflow.reporting import report_run

    path = report_run(Store(options.run), options.tags)
    if options.json:
        _print_json({"ok": True, "report": path})
    else:
        print(path)
    return DONE


def _retokenize(options: argparse.Namespace) -> int:
    from dataflow.retokenize import retokenize

    with contextlib.redirect_stdout(sys.stderr):
        done = retokenize(Store(options.run), options.tokenizer, workers=options.workers)
    if options.json:
        _print_json({"ok": True, **done})
    else:
        print(f"{options.run}: {done['tokens']:,} tokens in {done['folder']}")
        print(f"  logical root  {done['logical_root']}")
    return DONE


def _workers(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"found {value}, expected 0 or more")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataflow",
        description="Build a corpus from a recipe, look at it, and check it.",
        epilog="Exit codes: 0 done, 1 the job failed, 2 wrong usage or wrong recipe.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run_command=run)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        return sub

    default_workers = os.cpu_count() or 1
    sub = command(
        "build", _build, "Build a recipe into a run folder; goes on after any interruption."
    )
    sub.add_argument("recipe", metavar="RECIPE", help="a recipe, or a run's recipe.lock.yaml")
    sub.add_argument("--out", metavar="RUN", help="the run folder or URI (default: runs/NAME)")
    sub.add_argument(
        "--workers",
        type=_workers,
        default=default_workers,
        help=f"Ray actors; 0 runs in this process, for debugging (default: {default_workers})",
    )
    sub.add_argument("--address", help="a Ray cluster to run on (default: one of this machine)")

    sub = command("check", _check, "Check a recipe and print its plan with estimated sizes.")
    sub.add_argument("recipe", metavar="RECIPE")

    sub = command("status", _status, "How far the build of a run folder is.")
    sub.add_argument("run", metavar="RUN")

    sub = command("why", _why, "One document's whole story.")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument(
        "document", metavar="DOC_OR_URI", help="a doc_id (32 hex digits), a uri or a page address"
    )

    sub = command("verify", _verify, "Check hashes, schemas, conservation laws and roots of a run.")
    sub.add_argument("run", metavar="RUN")

    sub = command("report", _report, "Write report.html of a run again.")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument(
        "--tags",
        type=Path,
        metavar="TABLE.parquet",
        help="capability tags of `python -m vl_data tag`: shows how they are spread",
    )

    sub = command(
        "retokenize", _retokenize, "Write token shards of another tokenizer; text stays as it is."
    )
    sub.add_argument("run", metavar="RUN")
    sub.add_argument(
        "--tokenizer", required=True, metavar="FOLDER", help="a tokenizer's folder or file"
    )
    sub.add_argument("--workers", type=_workers, default=default_workers)

    from dataflow.cli_tokenizer import add_commands

    add_commands(commands)
    return parser


def _complain(error: Exception, as_json: bool, problems: Any = None) -> None:
    if as_json:
        _print_json({"ok": False, "error": str(error), "problems": problems})
    else:
        print(f"error: {error}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    from dataflow.executor import TaskFailed
    from dataflow.locks import BuildError
    from dataflow.recipe import RecipeError
    from dataflow.report import ReportError
    from dataflow.run import RunError
    from dataflow.sources import PlanError, SourceError
    from dataflow.store import StoreError
    from dataflow.tokenizer import TokenizerError
    from dataflow.why import NotFound

    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run_command
    try:
        return command(options)
    except RecipeError as error:
        if options.json:
            _print_json(error.to_json())
        else:
            print(error.render(), file=sys.stderr)
        return WRONG_USAGE
    except WrongUsage as error:
        _complain(error, options.json)
        return WRONG_USAGE
    except (BuildError, TaskFailed, RunError, StoreError, SourceError, PlanError, NotFound,
            TokenizerError, ReportError, OSError) as error:  # fmt: skip
        _complain(error, options.json)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return FAILED


def _exit() -> NoReturn:
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:  # before the command began
        code = FAILED
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    sys.exit(code)


if __name__ == "__main__":
    _exit()
