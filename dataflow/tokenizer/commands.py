"""What ``python -m dataflow tokenizer train | use | info`` does; each returns its JSON answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from dataflow.tokenizer.adopting import use
from dataflow.tokenizer.errors import TokenizerError
from dataflow.tokenizer.sampling import read_texts, sample_by_hash, text_files
from dataflow.tokenizer.tokenizer import Tokenizer
from dataflow.tokenizer.training import train


def train_command(
    inputs: Sequence[str | Path],
    *,
    vocab_size: int,
    out: str | Path,
    field: str = "text",
    max_bytes: int | None = 1_000_000_000,
    min_frequency: int = 2,
) -> dict[str, Any]:
    """Train a tokenizer from files or runs (`text_files`), and write its folder.

    Parameters
    ----------
    max_bytes : int or None
        Train on a sample of this many bytes, chosen by content hash; None: on everything.

    Raises
    ------
    TokenizerError
        If the inputs cannot be read or yield too small a vocabulary.
    """
    texts = read_texts(text_files(inputs), field)
    chosen = texts if max_bytes is None else sample_by_hash(texts, max_bytes)
    return describe(train(chosen, vocab_size, out, min_frequency=min_frequency), out)


def use_command(
    path: str | Path,
    *,
    out: str | Path,
    specials: Mapping[str, str] | None = None,
    pattern: str | None = None,
    special_ids: Mapping[str, int] | None = None,
    vocab_size: int | None = None,
    reserve: bool = True,
) -> dict[str, Any]:
    """Take a published tokenizer into use (`use`), and write its folder."""
    tokenizer = use(
        path,
        out,
        specials=specials,
        pattern=pattern,
        special_ids=special_ids,
        vocab_size=vocab_size,
        reserve=reserve,
    )
    return describe(tokenizer, out)


def info_command(path: str | Path) -> dict[str, Any]:
    """What a tokenizer folder or file holds; loading a folder checks its hash."""
    return describe(Tokenizer.load(path), path)


def describe(tokenizer: Tokenizer, path: str | Path) -> dict[str, Any]:
    """A tokenizer's facts as a JSON object."""
    found: dict[str, Any] = {
        "path": str(path),
        "hash": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "backend": tokenizer.backend,
        "dtype": str(tokenizer.dtype),
        "specials": tokenizer.specials,
        "provenance": tokenizer.provenance,
    }
    if tokenizer.reason is not None:
        found["reason"] = tokenizer.reason
    return found


def add_commands(commands: Any) -> None:
    """Add ``tokenizer train | use | info`` to the subparsers of ``python -m dataflow``.

    Each sets ``run_command``, a function of the parsed options that returns an exit code.
    """
    text = "Train a tokenizer, take a published one into use, or look at one."
    parser = commands.add_parser("tokenizer", help=text, description=text)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(
        name: str, run: Callable[[argparse.Namespace], dict[str, Any]], text: str
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run_command=lambda options: _answer(run(options), options.json))
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        return sub

    sub = verb("train", _train, "Train a byte-level BPE tokenizer and write its folder.")
    sub.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a run folder (its train-split documents), or files: .jsonl[.gz|.zst], .parquet, "
        ".txt, content shards",
    )
    sub.add_argument("--vocab-size", type=int, default=32768, help="entries (default: 32768)")
    sub.add_argument("--out", required=True, metavar="FOLDER")
    sub.add_argument("--field", default="text", help="field of the text (default: text)")
    sub.add_argument(
        "--max-bytes",
        type=int,
        default=1_000_000_000,
        help="train on a sample of this many bytes, chosen by content hash; 0: on everything "
        "(default: 1000000000)",
    )

    sub = verb("use", _use, "Take a published tokenizer into use: check it, write its folder.")
    sub.add_argument("path", metavar="FILE", help="tokenizer.json, or a .tiktoken file")
    sub.add_argument("--out", required=True, metavar="FOLDER")
    sub.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="ROLE=SPELLING",
        help="which special of the file has which role, such as eod=<|endoftext|>; repeatable",
    )
    sub.add_argument("--pattern", help="the regular expression that goes with a .tiktoken file")
    sub.add_argument(
        "--special-id",
        action="append",
        default=[],
        metavar="SPELLING=ID",
        help="a special of a .tiktoken file; repeatable",
    )
    sub.add_argument("--vocab-size", type=int, help="rows of the embedding, if padded")
    sub.add_argument(
        "--no-reserve",
        action="store_true",
        help="add no ids for the roles that the file has no special for",
    )

    sub = verb("info", _info, "What a tokenizer holds; checks the hash of a folder.")
    sub.add_argument("path", metavar="FOLDER_OR_FILE")


def _train(options: argparse.Namespace) -> dict[str, Any]:
    return train_command(
        options.inputs,
        vocab_size=options.vocab_size,
        out=options.out,
        field=options.field,
        max_bytes=options.max_bytes or None,
    )


def _use(options: argparse.Namespace) -> dict[str, Any]:
    ids = _pairs(options.special_id, "--special-id", "SPELLING=ID")
    for spelling, number in ids.items():
        if not number.isdecimal():
            raise TokenizerError(f"--special-id {spelling}={number}: {number!r} is not a number")
    return use_command(
        options.path,
        out=options.out,
        specials=_pairs(options.special, "--special", "ROLE=SPELLING"),
        pattern=options.pattern,
        special_ids={spelling: int(number) for spelling, number in ids.items()} or None,
        vocab_size=options.vocab_size,
        reserve=not options.no_reserve,
    )


def _info(options: argparse.Namespace) -> dict[str, Any]:
    return info_command(options.path)


def _pairs(found: Sequence[str], option: str, expected: str) -> dict[str, str]:
    pairs = {}
    for pair in found:
        # A role or an id holds no "=", a spelling may: split at the side that has none.
        left, sign, right = (
            pair.partition("=") if expected.startswith("ROLE") else pair.rpartition("=")
        )
        if not (left and sign and right):
            raise TokenizerError(f"{option} {pair}: expected {expected}")
        pairs[left] = right
    return pairs


def _answer(found: dict[str, Any], as_json: bool) -> int:
    if as_json:
        sys.stdout.write(orjson.dumps({"ok": True, **found}, option=orjson.OPT_INDENT_2).decode())
        sys.stdout.write("\n")
        return 0
    named = {role: i for role, i in found["specials"].items() if not role.startswith("spare_")}
    lines = [
        f"{found['path']}: tokenizer {found['hash']}, {found['vocab_size']:,} entries",
        f"  backend     {found['backend']}, ids {found['dtype']}",
        "  specials    " + ", ".join(f"{role} {i}" for role, i in named.items()),
    ]
    if "reason" in found:
        lines.insert(2, f"              because {found['reason']}")
    if found["provenance"]:
        lines.append(
            "  provenance  " + ", ".join(f"{k} {v}" for k, v in found["provenance"].items())
        )
    print("\n".join(lines))
    return 0
