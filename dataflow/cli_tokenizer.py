"""``python -m dataflow tokenizer train | use | info``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import orjson


def _show(options: argparse.Namespace, facts: dict[str, Any]) -> int:
    if options.json:
        text = orjson.dumps({"ok": True, **facts}, option=orjson.OPT_INDENT_2).decode()
        sys.stdout.write(text + "\n")
        return 0
    print(
        f"{facts['path']}: tokenizer {facts['hash']}, {facts['vocab_size']:,} entries, "
        f"encoded by {facts['backend']} as {facts['dtype']}, "
        f"{len(facts['specials'])} specials"
    )
    if "reason" in facts:
        print(f"  not tiktoken, because {facts['reason']}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from dataflow.tokenizer.commands import train_command

    facts = train_command(
        options.inputs,
        vocab_size=options.vocab_size,
        out=options.out,
        field=options.field,
        max_bytes=options.max_bytes,
    )
    return _show(options, facts)


def _use(options: argparse.Namespace) -> int:
    from dataflow.tokenizer.commands import use_command

    facts = use_command(
        options.path,
        out=options.out,
        specials=dict(options.special) or None,
        pattern=options.pattern,
        special_ids=dict(options.special_id) or None,
        vocab_size=options.vocab_size,
        reserve=not options.no_reserve,
    )
    return _show(options, facts)


def _info(options: argparse.Namespace) -> int:
    from dataflow.tokenizer.commands import info_command

    return _show(options, info_command(options.path))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=VALUE")
    return name, value


def _numbered(text: str) -> tuple[str, int]:
    # From the right: a spelling may hold "=".
    name, _, value = text.rpartition("=")
    if not name or not value.isascii() or not value.isdigit():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected SPELLING=ID")
    return name, int(value)


def add_commands(commands: Any) -> None:
    """Add ``tokenizer`` to the subcommands of ``python -m dataflow``."""
    text = "Train a tokenizer, take a published one into use, or look at one."
    tokenizer = commands.add_parser("tokenizer", help=text, description=text)
    verbs = tokenizer.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], about: str
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=about)
        sub.set_defaults(run_command=run)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        return sub

    sub = verb("train", _train, "Train a byte-level BPE tokenizer from files or runs.")
    sub.add_argument("inputs", nargs="+", metavar="PATH", help="text files, folders, or runs")
    sub.add_argument("--out", required=True, metavar="FOLDER")
    sub.add_argument("--vocab-size", type=int, default=32_768, help="entries, specials included")
    sub.add_argument("--field", default="text", help="the text's name in JSONL and Parquet rows")
    sub.add_argument(
        "--max-bytes",
        type=int,
        default=1_000_000_000,
        help="train on a sample of this size, chosen by content hash",
    )

    sub = verb("use", _use, "Take a published tokenizer.json or tiktoken file into use.")
    sub.add_argument("path", metavar="PATH")
    sub.add_argument("--out", required=True, metavar="FOLDER")
    sub.add_argument(
        "--special",
        type=_pair,
        action="append",
        default=[],
        metavar="ROLE=SPELLING",
        help="which of its special tokens serves as what, such as eod=<|endoftext|>",
    )
    sub.add_argument("--pattern", help="for tiktoken files: the regular expression")
    sub.add_argument(
        "--special-id",
        type=_numbered,
        action="append",
        default=[],
        metavar="SPELLING=ID",
        help="for tiktoken files: a special token and its id",
    )

    sub.add_argument("--vocab-size", type=int, help="rows of the embedding, if more than ids")
    sub.add_argument(
        "--no-reserve", action="store_true", help="add no ids for the roles that it lacks"
    )

    sub = verb("info", _info, "What a tokenizer folder or file holds; checks its hash.")
    sub.add_argument("path", metavar="PATH")
