"""``python -m mixtures items``: items are read, made, and looked for in a corpus.

Exit codes: 0 done, 1 it could not be done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflow.run import Run
    from mixtures.items.contamination import Checked
    from mixtures.items.item import Item

DONE, FAILED = 0, 1
TOLD = 20
"""Contaminated items that a person is told of; JSON has all."""

Add = Callable[[str, Callable[[argparse.Namespace], int], str], Any]


def add_command(add: Add) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    from mixtures.items.benchmarks import FORMATS

    root = add("items", run_items, "multiple-choice items: of benchmarks, or of held-out text")
    commands = root.add_subparsers(dest="items", required=True, metavar="ITEMS")

    def sub(name: str, run: Callable[[argparse.Namespace], dict[str, Any]], text: str) -> Any:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run_items=run)
        made.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS,
            help="print JSON for machines",
        )  # fmt: skip
        return made

    reads = sub("read", _read, "a benchmark's local file as items")
    reads.add_argument("file", type=Path, metavar="FILE", help="JSONL, plain, gzip or Zstandard")
    reads.add_argument("--format", choices=FORMATS, required=True)
    reads.add_argument("--limit", type=_count, metavar="N", help="the first N (default: all)")
    reads.add_argument("--out", type=Path, required=True, metavar="FILE")
    makes = sub("generate", _generate, "items of held-out text: true continuation or another's")
    makes.add_argument("--corpus", required=True, metavar="RUN", help="folder or URI")
    makes.add_argument("--count", type=_count, default=400, help="of items (400)")
    makes.add_argument("--seed", type=int, default=0)
    makes.add_argument("--sources", type=_names, metavar="A,B", help="these alone")
    makes.add_argument("--except-sources", type=_names, default=[], metavar="A,B")
    makes.add_argument("--query-bytes", type=_count, default=240, help="of a query, about (240)")
    makes.add_argument(
        "--continuation-bytes", type=_count, default=80, help="of a continuation, about (80)"
    )
    makes.add_argument("--out", type=Path, required=True, metavar="FILE")
    checks = sub("check", _check, "look for items in a corpus' train documents")
    checks.add_argument("file", type=Path, metavar="FILE", help="of items")
    checks.add_argument("--corpus", required=True, metavar="RUN", help="folder or URI")
    checks.add_argument("--drop", type=Path, metavar="OUT", help="write the others there")


def run_items(options: argparse.Namespace) -> int:
    """Do what was asked for; tell it."""
    import orjson

    from dataflow.shards import ShardError
    from mixtures.items.errors import ItemsError

    try:
        answer = options.run_items(options)
    except (ItemsError, ShardError) as error:
        if options.json:
            sys.stdout.write(orjson.dumps({"ok": False, "error": str(error)}).decode() + "\n")
        else:
            sys.stderr.write(f"error: {error}\n")
        return FAILED
    text = answer.pop("text")
    if options.json:
        sys.stdout.write(orjson.dumps({"ok": True, **answer}).decode() + "\n")
    else:
        sys.stdout.write(text + "\n")
    return DONE


def _read(options: argparse.Namespace) -> dict[str, Any]:
    from mixtures.items.benchmarks import read_benchmark

    items = read_benchmark(options.file, options.format)
    found = len(items)
    return {"found": found, **_written(options.out, items[: options.limit])}


def _generate(options: argparse.Namespace) -> dict[str, Any]:
    from mixtures.items.generating import generate
    from mixtures.items.stretches import Sizes

    made = generate(
        _open(options.corpus),
        options.count,
        seed=options.seed,
        sizes=Sizes(options.query_bytes, options.continuation_bytes),
        sources=options.sources,
        except_sources=options.except_sources,
    )
    return {"possible": made.possible, **_written(options.out, made.items)}


def _written(out: Path, items: Sequence[Item]) -> dict[str, Any]:
    """Write items; what came of it, with what baselines get."""
    from collections import Counter

    from mixtures.items.baselines import baselines
    from mixtures.items.item import write_items

    write_items(out, items)
    tried = baselines(items)
    sources = dict(sorted(Counter(item.source for item in items if item.source).items()))
    lines = [f"{out}: {len(items):,} items"]
    lines += [f"  {count:>8,}  {source}" for source, count in sources.items()]
    lines.append(f"answers that need no model (chance {tried[0].chance:.3f}):")
    for one in tried:
        above = "  above chance" if one.above else ""
        reads = ", reads the query" if one.reads_query else ""
        lines.append(f"  {one.accuracy:.3f} ± {one.error:.3f}  {one.name}{reads}{above}")
    return {
        "items": len(items),
        "file": str(out),
        "sources": sources,
        "baselines": [one.as_json() for one in tried],
        "text": "\n".join(lines),
    }


def _check(options: argparse.Namespace) -> dict[str, Any]:
    from mixtures.items.contamination import check
    from mixtures.items.errors import ItemsError
    from mixtures.items.item import read_items, write_items

    items = read_items(options.file)
    run = _open(options.corpus)
    with _bar(not options.json) as progress:
        found = check(items, run, progress)
    answer = {**found.as_json(), "text": _told(found, options.file)}
    if options.drop is not None:
        bad = {one.item for one in found.contaminated}
        clean = [item for i, item in enumerate(items) if i not in bad]
        if not clean:
            raise ItemsError(
                f"{options.file}: found all {len(items):,} items in train documents of "
                f"{options.corpus}, expected some that are not"
            )
        write_items(options.drop, clean)
        answer |= {"clean": len(clean), "file": str(options.drop)}
        answer["text"] += f"\n{options.drop}: {len(clean):,} items"
    return answer


def _told(found: Checked, path: Path) -> str:
    lines = [
        f"{path}: {len(found.contaminated):,} of {found.items:,} items are in train documents",
        f"  {found.documents:,} documents, {found.text_bytes / 1e6:,.1f} MB read in "
        f"{found.seconds:.1f} s ({found.megabytes_per_second:.0f} MB/s)",
    ]
    if found.unchecked:
        lines.append(f"  {len(found.unchecked):,} are too short to be looked for (below 8 words)")
    for one in found.contaminated[:TOLD]:
        lines.append(
            f"  {one.id}: {one.found} of {one.grams} n-grams; document {one.document} "
            f"({one.source}, {one.shard}), {one.documents:,} in all"
        )
    if len(found.contaminated) > TOLD:
        lines.append(f"  and {len(found.contaminated) - TOLD:,} more (--json tells all)")
    return "\n".join(lines)


def _open(uri: str) -> Run:
    from dataflow.run import Run
    from dataflow.store import Store

    return Run.load(Store(uri))


@contextlib.contextmanager
def _bar(shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with the time that is left, where a person may look at it."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("shards", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of 1 or more")
    return int(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
