"""``ratios.csv`` and ``metrics.csv``: the form in which tools of mixture laws take runs.

Both have a row a run. The first column, ``run``, joins them; ``name`` is the run's arm; every other
column of ``ratios.csv`` is a component and its share of the tokens, which sum to 1, and every other
column of ``metrics.csv`` is a metric. So AllenAI's olmix reads them; RegMix
(arXiv:2407.01492) calls the first column ``index`` and has no names, and its files are read too.

Only finished runs have rows: a law cannot be fitted to a run that has no result.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixtures.studies.analysis.drawn import drawn_by_arm, shares
from mixtures.studies.analysis.reading import assemble
from mixtures.studies.analysis.records import FINISHED, RunRecord, StudyData
from mixtures.studies.analysis.scores import BITS_PER_BYTE, WHOLE, metric_name
from mixtures.studies.errors import StudyError

RATIOS, METRICS = "ratios.csv", "metrics.csv"

_IDS = ("run", "run_id", "index")
_NAMES = ("name", "index")
"""Columns beside the id that are no share and no metric."""
_SEED = re.compile(r"^(?P<arm>.+)-seed(?P<seed>\d+)$")
_SLACK = 0.01
"""How far from 1 the shares of a row may sum: published tables round to three digits."""


def write_csv(data: StudyData, folder: Path) -> list[Path]:
    """Write both files of a study's finished runs; the ratios only if all their arms' are known.

    A component that an arm does not have is a share of 0.
    """
    finished = [run for run in data.runs if run.finished]
    flat = [_flat(run) for run in finished]
    columns = sorted({name for row in flat for name in row})
    rows = [
        [_id(run), run.arm, *(_number(row.get(name)) for name in columns)]
        for run, row in zip(finished, flat, strict=True)
    ]
    written = [_write(folder / METRICS, ["run", "name", *columns], rows)]
    drawn = {arm: shares(components) for arm, components in drawn_by_arm(data).items()}
    if finished and all(run.arm in drawn for run in finished):
        components = list(dict.fromkeys(name for arm in drawn.values() for name in arm))
        rows = [
            [_id(run), run.arm, *(_number(drawn[run.arm].get(c, 0.0)) for c in components)]
            for run in finished
        ]
        written.insert(0, _write(folder / RATIOS, ["run", "name", *components], rows))
    return written


def _id(run: RunRecord) -> str:
    return f"{run.arm}-seed{run.seed}"


def _flat(run: RunRecord) -> dict[str, float]:
    return {
        metric_name(metric, part): value
        for metric, parts in run.metrics.items()
        for part, value in parts.items()
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    path.write_text(text.getvalue(), "utf-8")
    return path


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: list[str]
    rows: dict[str, tuple[int, str, list[float]]]
    """By run: its line, its name (or the run), and a value for each column."""


def read_csv(
    folder: Path,
    *,
    baseline: str,
    primary: str | None = None,
    lower: Sequence[str] = (),
    higher: Sequence[str] = (),
) -> StudyData:
    """The runs of ``ratios.csv`` and ``metrics.csv``, as a study to analyse.

    Runs of one ``name`` are an arm; without names, runs of the same shares are. The seed of a run
    is that of an id such as ``clean-seed3``; else the runs of an arm are numbered, and seeds of
    two arms mean nothing to each other, so that no two runs are paired.

    Parameters
    ----------
    folder : has both files; RegMix's names of them are not guessed
    baseline : an arm's name; without names, the id of one of its runs
    primary : the metric that decides; None: bits per byte, or the first column
    lower, higher : metrics of which the lower, or the higher, value is the better one, where their
        names do not tell

    Raises
    ------
    StudyError
        With file, line and column.
    """
    ratios, metrics = _read(folder / RATIOS), _read(folder / METRICS)
    _check_sums(ratios)
    for one, other in ((ratios, metrics), (metrics, ratios)):
        for run, (line, _, _) in one.rows.items():
            if run not in other.rows:
                raise StudyError(
                    f"{one.path}:{line}: column 1: found run {run!r}, which {other.path.name} does "
                    "not have, expected the same runs in both"
                )
    arms = _arms(ratios, metrics)
    runs: list[RunRecord] = []
    numbered: dict[str, int] = {}
    seeded = _seeded(arms)
    for run, arm in arms.items():
        match = _SEED.match(run)
        numbered[arm] = numbered.get(arm, -1) + 1
        seed = int(match["seed"]) if seeded and match else numbered[arm]
        values = {
            metric: {WHOLE: value}
            for metric, value in zip(metrics.columns, metrics.rows[run][2], strict=True)
        }
        runs.append(RunRecord(arm, seed, FINISHED, key=run, metrics=values))
    name = arms.get(baseline, baseline)
    study: dict[str, Any] = {
        "name": folder.name or "csv",
        "kind": "compare",
        "baseline": name,
        "arms": {
            arm: {"seeds": [run.seed for run in runs if run.arm == arm]}
            for arm in dict.fromkeys(arms.values())
        },
        "unpaired": not seeded,
        "metrics": {
            "primary": primary or _primary(metrics.columns),
            "better": dict.fromkeys(lower, "lower") | dict.fromkeys(higher, "higher"),
        },
    }
    return assemble(study, runs, str(folder))


def _primary(columns: list[str]) -> str:
    return BITS_PER_BYTE if BITS_PER_BYTE in columns else columns[0]


def _seeded(arms: dict[str, str]) -> bool:
    """Whether every run's id tells its seed, and no two of an arm the same."""
    seeds = [(arm, match["seed"]) for run, arm in arms.items() if (match := _SEED.match(run))]
    return len(seeds) == len(arms) == len(set(seeds))


def _arms(ratios: _Table, metrics: _Table) -> dict[str, str]:
    """The arm of each run: its name, or the first run that has its shares."""
    named = {run: row[1] for run, row in ratios.rows.items()}
    if any(name != run for run, name in named.items()):
        for run, (line, name, _) in metrics.rows.items():
            if name not in (run, named[run]):
                raise StudyError(
                    f"{metrics.path}:{line}: name: found {name!r}, expected {named[run]!r}, which "
                    f"{ratios.path.name} calls this run"
                )
        return named
    first: dict[tuple[float, ...], str] = {}
    return {run: first.setdefault(tuple(row[2]), run) for run, row in ratios.rows.items()}


def _read(path: Path) -> _Table:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise StudyError(
            f"{path}: found no such file, expected {RATIOS} and {METRICS} in one folder"
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: found bytes that are no UTF-8 ({error.reason})") from None
    lines = csv.reader(io.StringIO(text, newline=""))
    heads = [head.strip() for head in next(lines, [])]
    if not heads or heads[0] not in _IDS:
        raise StudyError(
            f"{path}:1: column 1: found {heads[0] if heads else 'nothing'!r}, expected "
            f"{' or '.join(_IDS)}, by which both files are joined"
        )
    for number, head in enumerate(heads, 1):
        if not head or head in heads[: number - 1]:
            raise StudyError(
                f"{path}:1: column {number}: found {head or 'an empty name'!r}, expected each "
                "column to have a name of its own"
            )
    kept = [i for i, head in enumerate(heads) if i and head not in _NAMES]
    if not kept:
        raise StudyError(f"{path}:1: found no column beside {heads[0]}, expected some")
    name_at = heads.index("name") if "name" in heads else 0
    table = _Table(path, [heads[i] for i in kept], {})
    for row in lines:
        if not row:
            continue
        line = lines.line_num
        if len(row) != len(heads):
            raise StudyError(
                f"{path}:{line}: found {len(row)} columns, expected {len(heads)} as in line 1"
            )
        if row[0] in table.rows:
            raise StudyError(
                f"{path}:{line}: column 1: found run {row[0]!r} again (first in line "
                f"{table.rows[row[0]][0]}), expected a row a run"
            )
        values = [_value(row[i], f"{path}:{line}: column {i + 1} ({heads[i]})") for i in kept]
        table.rows[row[0]] = (line, row[name_at], values)
    if not table.rows:
        raise StudyError(f"{path}: found no runs, expected a row a run")
    return table


def _value(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise StudyError(f"{where}: found {text!r}, expected a finite number")
    return value


def _check_sums(ratios: _Table) -> None:
    for line, _, values in ratios.rows.values():
        if min(values) < 0:
            column = ratios.columns[values.index(min(values))]
            raise StudyError(f"{ratios.path}:{line}: {column}: found {min(values)}, expected >= 0")
        if abs(sum(values) - 1) > _SLACK:
            raise StudyError(
                f"{ratios.path}:{line}: found shares that sum to {sum(values):.4f}, expected 1: "
                "each row is a mixture"
            )
