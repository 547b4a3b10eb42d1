"""The command line of the quality room: signals, dialects, labels, students and their scores."""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from quality.dialects import DIALECTS
from quality.reward.commands import add_distill, add_evaluate, score_file
from quality.reward.labeler import command as label
from quality.rules import decide
from quality.signals import SIGNALS, Signal

DONE, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except FileNotFoundError as error:
        return _fail(options, f"{error.filename}: found no such file", USAGE)
    except (OSError, ValueError) as error:
        return _fail(options, str(error), FAILED)


def _fail(options: argparse.Namespace, text: str, code: int) -> int:
    if options.json:
        print(json.dumps({"ok": False, "error": text}, ensure_ascii=False))
    else:
        print(text, file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quality",
        description="Signals (what is measured of a text) and dialects (named sets of rules).",
        epilog="Exit codes: 0 done, 1 the job failed, 2 wrong usage.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    signals = commands.add_parser("signals", help="list the signals that rules may test")
    signals.add_argument("prefix", nargs="?", default="", help="only names that begin with this")
    signals.set_defaults(run=_signals)

    dialects = commands.add_parser(
        "dialects", help="list the presets, their thresholds and sources"
    )
    dialects.add_argument("name", nargs="?", choices=sorted(DIALECTS), help="only this one")
    dialects.set_defaults(run=_dialects)

    score = commands.add_parser(
        "score",
        help="compute all signals of a text file, or of each line of a JSONL file",
        description="Compute all signals of a file, rewards among them: one text, or with the "
        "suffix .jsonl (.gz) one text a line. With --json, one JSON object a document. With --out, "
        "the rewards alone, of a run or JSON lines, as a table that a build reads.",
    )
    score.add_argument(
        "file", type=Path, help="a UTF-8 text file, or .jsonl, .jsonl.gz; with --out also a run"
    )
    score.add_argument("--field", default="text", help="the text's key in JSONL (default: text)")
    score.add_argument(
        "--dialect",
        action="append",
        choices=sorted(DIALECTS),
        default=[],
        help="also say which rule of this dialect drops the text (may be given again)",
    )
    score.add_argument(
        "--out", type=Path, help="write the rewards of all documents to this Parquet file instead"
    )
    score.add_argument("--student", type=Path, help="its file (default: the shipped one)")
    score.add_argument(
        "--device", default="cpu", help="of a cascade's network, such as cuda (default: cpu)"
    )
    score.set_defaults(run=_score)
    label.add_parser(commands)
    add_distill(commands)
    add_evaluate(commands)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print JSON for machines")
    return parser


def _signals(options: argparse.Namespace) -> int:
    chosen = [s for s in SIGNALS.values() if s.name.startswith(options.prefix)]
    if not chosen:
        return _fail(options, f"found no signal that begins with {options.prefix!r}", USAGE)
    if options.json:
        print(json.dumps([_signal_json(signal) for signal in chosen], ensure_ascii=False))
        return DONE
    console = Console()
    for source in dict.fromkeys(s.source for s in chosen):
        table = Table(title=source, title_justify="left")
        table.add_column("signal", no_wrap=True)
        for column in ("unit", "range", "meaning"):
            table.add_column(column)
        for s in (s for s in chosen if s.source == source):
            table.add_row(s.name, s.unit, _range(s), s.doc)
        console.print(table)
    return DONE


def _signal_json(signal: Signal) -> dict[str, Any]:
    return {**signal.__dict__, "type": str(signal.type)}


def _range(signal: Signal) -> str:
    if signal.minimum is None and signal.maximum is None:
        return ""
    low = "-∞" if signal.minimum is None else f"{signal.minimum:g}"
    return f"{low} … {'∞' if signal.maximum is None else f'{signal.maximum:g}'}"


def _dialects(options: argparse.Namespace) -> int:
    chosen = [d for d in DIALECTS.values() if options.name in (None, d.name)]
    if options.json:
        plain = [
            {
                "name": d.name,
                "doc": d.doc,
                "source": d.source,
                "rules": [rule.to_json() for rule in d.rules],
            }
            for d in chosen
        ]
        print(json.dumps(plain, ensure_ascii=False))
        return DONE
    console = Console()
    for d in chosen:
        table = Table("rule", "keeps", title=f"{d.name}: {d.doc}", caption=d.source)
        table.title_justify = table.caption_justify = "left"
        for rule in d.rules:
            table.add_row(rule.name, rule.describe())
        console.print(table)
    return DONE


def _score(options: argparse.Namespace) -> int:
    if options.out is not None:
        return score_file(options)
    # Compiling the scan takes seconds the first time: the other commands do without it.
    from quality.reward.student import load_student
    from quality.score import score

    table = score(_texts(options.file, options.field), load_student(options.student))
    rows = table.to_pylist()
    for name in options.dialect:
        rules = DIALECTS[name].rules
        failed, values, thresholds = decide(table, rules)
        for row, r, value, threshold in zip(rows, failed, values, thresholds, strict=True):
            row[f"dialect.{name}"] = (
                {"kept": True}
                if r < 0
                else {
                    "kept": False,
                    "rule": rules[r].name,
                    "value": None if value != value else float(value),
                    "threshold": None if threshold != threshold else float(threshold),
                }
            )
    if options.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return DONE
    _print_rows(rows, table.schema)
    return DONE


def _print_rows(rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    console = Console()
    for i, row in enumerate(rows):
        table = Table("signal", "value", title=f"document {i}", title_justify="left")
        for name, value in row.items():
            if name in schema.names:
                table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
            else:
                table.add_row(name, _verdict(value), style="bold")
        console.print(table)


def _verdict(found: dict[str, Any]) -> str:
    if found["kept"]:
        return "kept"
    bound = (
        ""
        if found["threshold"] is None
        else f": {found['value']:.6g} against {found['threshold']:g}"
    )
    return f"dropped by {found['rule']}{bound}"


def _texts(path: Path, field: str) -> list[str]:
    suffixes = "".join(path.suffixes[-2:]).lower()
    content = path.read_bytes()
    if suffixes.endswith(".gz"):
        content = gzip.decompress(content)
    text = content.decode("utf-8")
    if not suffixes.removesuffix(".gz").endswith(".jsonl"):
        return [text]
    texts = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: found {error}, expected a JSON object") from error
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            raise ValueError(f"{path}:{number}: found no text under {field!r}; see --field")
        texts.append(row[field])
    return texts


if __name__ == "__main__":
    sys.exit(main())
