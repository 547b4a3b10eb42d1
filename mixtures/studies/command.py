"""``python -m mixtures ablate``: runs a study, or goes on with one, and judges what came of it.

Exit codes: 0 the study is complete, 1 runs are missing or failed (the report says which) or the
study could not be run, 2 wrong usage or a wrong study, 130 it was interrupted and can go on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixtures.studies.errors import StudyError

if TYPE_CHECKING:
    from mixtures.studies.analysis.outcome import Analysis, MetricAnalysis
    from mixtures.studies.analysis.records import StudyData

STUDIES = Path("runs/studies")
ANALYSIS, REPORT = "analysis.json", "report.html"
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

Add = Callable[[str, Callable[[argparse.Namespace], int], str], Any]


def add_command(add: Add) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("ablate", run_ablate, "run a study of mixtures: arms, seeds, statistics, report.html")
    sub.add_argument("study", nargs="?", type=Path, metavar="STUDY", help="its YAML file")
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: runs/studies/NAME")
    sub.add_argument("--workers", type=_count, metavar="N", help="processes that train at once")
    sub.add_argument("--ray", metavar="ADDRESS", help="train over this Ray cluster (auto: here)")
    sub.add_argument(
        "--report-only", action="store_true", help="judge what is there and train nothing"
    )
    sub.add_argument(
        "--import-csv", type=Path, metavar="DIR",
        help="judge outside runs instead: ratios.csv and metrics.csv",
    )  # fmt: skip
    sub.add_argument(
        "--baseline", metavar="ARM", help="of --import-csv: the name, or a run, to compare with"
    )
    sub.add_argument("--primary", metavar="METRIC", help="of --import-csv: the one that decides")
    for side in ("lower", "higher"):
        sub.add_argument(
            f"--{side}", action="append", default=[], metavar="METRIC",
            help=f"of --import-csv: {side} values of it are better (may be said again)",
        )  # fmt: skip


def run_ablate(options: argparse.Namespace) -> int:
    """Run or read the study, analyse it, write its files and tell the decision.

    Raises
    ------
    RecipeError
        If the study's file is wrong.
    RunError, PlanError
        If a corpus cannot be read.
    """
    usage = _usage(options)
    if usage is not None:
        return _fail(options, usage, WRONG_USAGE)
    reads = options.import_csv is not None or options.report_only
    try:
        data, folder = _read(options) if reads else _run(options)
        analysis, paths = judge(data, folder)
    except StudyError as error:
        return _fail(options, str(error), WRONG_USAGE if reads else FAILED)
    except KeyboardInterrupt:
        return _fail(options, "interrupted; the same command goes on from here", INTERRUPTED)
    if options.json:
        import orjson

        answer = {
            "ok": analysis.complete,
            **analysis.as_json(),
            "folder": str(folder),
            "files": {path.name: str(path) for path in paths},
        }
        sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
    else:
        sys.stdout.write(told(analysis, folder / REPORT))
    return DONE if analysis.complete else FAILED


def judge(data: StudyData, folder: Path) -> tuple[Analysis, list[Path]]:
    """Analyse a study; write ``analysis.json``, ``report.html`` and the two tables into its folder.

    Raises
    ------
    StudyError
        If its results cannot be analysed.
    """
    from mixtures.studies.analysis import analyse
    from mixtures.studies.analysis.drawn import drawn_by_arm
    from mixtures.studies.csv_exchange import METRICS, RATIOS, write_csv
    from mixtures.studies.report import write_report

    analysis = analyse(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ANALYSIS).write_bytes(analysis.encoded())
    (folder / REPORT).write_text(write_report(data, analysis, drawn_by_arm(data)), "utf-8")
    written = [folder / ANALYSIS, folder / REPORT]
    if data.folder is not None:
        for name in (RATIOS, METRICS):  # of an earlier state, of which there may be none now
            (folder / name).unlink(missing_ok=True)
        written += write_csv(data, folder)
    return analysis, written


def told(analysis: Analysis, report: Path) -> str:
    """What a person reads in the terminal: warnings, the decision, the table, the report's path."""
    lines = [f"! {warning}" for warning in analysis.warnings]
    if lines:
        lines.append("")
    lines += [analysis.decision, ""]
    for metric in analysis.metrics:
        if metric.primary and metric.comparisons:
            lines += [*_table(analysis, metric), ""]
    lines.append(f"{analysis.finished} of {analysis.planned} runs finished; report: {report}")
    return "\n".join(lines) + "\n"


def _table(analysis: Analysis, metric: MetricAnalysis) -> list[str]:
    from mixtures.studies.wording import bare, interval, number, percent, signed

    heads = [
        metric.name, "effect", f"{percent(1 - analysis.alpha)} interval", "p (Holm)", "detectable",
        "runs", "verdict",
    ]  # fmt: skip
    rows = [heads]
    for c in metric.comparisons:
        p = c.p_adjusted if c.p_adjusted is not None else c.p
        rows.append(
            [
                c.arm,
                "–" if c.effect is None else signed(c.effect),
                "–" if c.low is None or c.high is None else interval(c.low, c.high),
                "–" if p is None else bare(p),
                "–" if c.mde is None else number(c.mde),
                f"{c.runs[0]} / {c.runs[1]}",
                c.verdict,
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _run(options: argparse.Namespace) -> tuple[StudyData, Path]:
    from mixtures.studies.analysis.reading import read_study
    from mixtures.studies.running import run_study

    found = run_study(
        options.study,
        out=options.out,
        workers=options.workers,
        ray=options.ray,
        progress=not options.json,
    )
    return read_study(found.folder), found.folder


def _read(options: argparse.Namespace) -> tuple[StudyData, Path]:
    if options.import_csv is not None:
        from mixtures.studies.csv_exchange import read_csv

        data = read_csv(
            options.import_csv,
            baseline=options.baseline,
            primary=options.primary,
            lower=options.lower,
            higher=options.higher,
        )
        return data, options.out or options.import_csv
    from mixtures.studies.analysis.reading import read_study

    folder: Path = options.out or STUDIES / options.study.stem
    return read_study(folder), folder


def _usage(options: argparse.Namespace) -> str | None:
    """What is wrong with the options together."""
    if options.import_csv is None:
        if options.study is None:
            return "found no STUDY, expected its YAML file, or --import-csv DIR"
        alone = [f"--{n}" for n in ("baseline", "primary", "lower", "higher") if vars(options)[n]]
        return f"found {alone[0]} without --import-csv, whose it is" if alone else None
    if options.study is not None:
        return f"found {options.study} and --import-csv, expected one of them"
    if options.baseline is None:
        return "found --import-csv without --baseline, expected the arm to compare with"
    return None


def _fail(options: argparse.Namespace, text: str, code: int) -> int:
    if options.json:
        import orjson

        sys.stdout.write(orjson.dumps({"ok": False, "error": text}).decode() + "\n")
    else:
        sys.stderr.write(f"error: {text}\n")
    return code


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of 1 or more")
    return value
