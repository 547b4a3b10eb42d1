"""A study's folder, read and checked: what was planned, and a record of every run of it.

``study.json`` is the study as it was resolved; ``results.jsonl`` has a line for each run. A run
that was planned and has no line is a record of state ``missing``: nothing downstream can forget it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mixtures.studies.analysis.records import (
    FINISHED,
    ROLES,
    STATES,
    Arm,
    Expect,
    RunRecord,
    StudyData,
)
from mixtures.studies.errors import StudyError

STUDY, RESULTS = "study.json", "results.jsonl"

_DOSE = re.compile(r"\d+(?:\.\d+)?")


def read_study(folder: Path) -> StudyData:
    """Read ``study.json`` and ``results.jsonl`` of a study's folder.

    Raises
    ------
    StudyError
        If a file is not there or not of this form; says file, line, field, found and expected.
    """
    path = folder / STUDY
    study = _object(_bytes(path, "run the study first"), str(path))
    rows = []
    results = folder / RESULTS
    for number, line in enumerate(_bytes(results, "run the study first").splitlines(), 1):
        if line.strip():
            where = f"{results}:{number}"
            rows.append(_run(_object(line, where), where))
    return assemble(study, rows, str(path), folder)


def assemble(
    study: Mapping[str, Any], rows: Iterable[RunRecord], where: str, folder: Path | None = None
) -> StudyData:
    """A study from its content and records; a planned run without a record becomes a missing one.

    Raises
    ------
    StudyError
        If the study lacks what an analysis needs, or a record is of no planned run.
    """
    arms = {name: _arm(name, entry, study, where) for name, entry in _arms(study, where).items()}
    baseline = _text(study, "baseline", where, "" if study.get("kind") == "repetition" else None)
    if baseline and baseline not in arms:
        raise StudyError(
            f"{where}: baseline: found {baseline!r}, expected one of the arms: {', '.join(arms)}"
        )
    records = _placed(arms, rows, where)
    metrics = study.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    return StudyData(
        name=_text(study, "name", where),
        question=_text(study, "question", where, ""),
        kind=_text(study, "kind", where, "compare"),
        baseline=baseline,
        arms=arms,
        runs=tuple(records),
        primary=_text(metrics, "primary", f"{where}: metrics", "bits_per_byte"),
        alpha=_share(study, "alpha", 0.05, where),
        power=_share(study, "power", 0.8, where),
        few_seeds=bool(study.get("few_seeds", False)),
        better=dict(metrics.get("better") or {}),
        study=study,
        folder=folder,
    )


def _placed(arms: Mapping[str, Arm], rows: Iterable[RunRecord], where: str) -> list[RunRecord]:
    found: dict[tuple[str, int], RunRecord] = {}
    for row in rows:
        if row.arm not in arms or row.seed not in arms[row.arm].seeds:
            raise StudyError(
                f"{where}: found a result of arm {row.arm!r}, seed {row.seed}, expected runs that "
                f"the study plans: arms {', '.join(arms)}; run the study again"
            )
        if (row.arm, row.seed) in found:
            raise StudyError(
                f"{where}: found two results of arm {row.arm!r}, seed {row.seed}, expected one"
            )
        found[row.arm, row.seed] = row
    why = "no result was written"
    return [
        found.get((arm.name, seed), RunRecord(arm.name, seed, "missing", why=why))
        for arm in arms.values()
        for seed in arm.seeds
    ]


def _arms(study: Mapping[str, Any], where: str) -> Mapping[str, Mapping[str, Any]]:
    arms = study.get("arms")
    if not isinstance(arms, Mapping) or not arms:
        raise StudyError(f"{where}: arms: found {_shown(arms)}, expected arms by their names")
    return arms


def _arm(name: str, entry: Mapping[str, Any], study: Mapping[str, Any], where: str) -> Arm:
    here = f"{where}: arms.{name}"
    role = entry.get("role")
    if role is not None and role not in ROLES:
        raise StudyError(f"{here}.role: found {role!r}, expected one of {', '.join(ROLES)}")
    dose = entry.get("dose")
    if dose is None and role == "dose":
        numbers = _DOSE.findall(name)
        if not numbers:
            raise StudyError(
                f"{here}.dose: found none, expected a number, by which arms of role dose are "
                "ordered; or one in the arm's name, such as noise30"
            )
        dose = float(numbers[-1])
    expect: Expect = "worse" if role in ("dose", "obvious") else "better"
    if (said := entry.get("expect")) is not None:
        if said not in ("better", "worse"):
            raise StudyError(f"{here}.expect: found {said!r}, expected better or worse")
        expect = said
    repetition = entry.get("repetition") or {}
    seeds = entry.get("seeds") or study.get("seeds") or []
    if isinstance(seeds, int):
        seeds = range(seeds)
    return Arm(
        name=name,
        seeds=tuple(int(seed) for seed in seeds),
        role=role,
        dose=None if dose is None else float(dose),
        expect=expect,
        tier=repetition.get("tier"),
        epochs=repetition.get("epochs"),
        same_as=entry.get("same_as"),
        about=entry,
    )


def _run(line: Mapping[str, Any], where: str) -> RunRecord:
    state = line.get("state")
    if state not in STATES:
        raise StudyError(f"{where}: state: found {state!r}, expected one of {', '.join(STATES)}")
    metrics = {
        name: {part: _finite(value, f"{where}: metrics.{name}.{part}") for part, value in m.items()}
        for name, m in (line.get("metrics") or {}).items()
    }
    samples = {
        name: tuple(_finite(value, f"{where}: samples.{name}[{i}]") for i, value in enumerate(s))
        for name, s in (line.get("samples") or {}).items()
    }
    loss = line.get("final_loss")
    if state == FINISHED and loss is not None:
        loss = _finite(loss, f"{where}: final_loss")
    seed = line.get("seed")
    if not isinstance(seed, int):
        raise StudyError(f"{where}: seed: found {_shown(seed)}, expected a whole number")
    return RunRecord(
        arm=_text(line, "arm", where),
        seed=seed,
        state=state,
        key=str(line.get("key") or ""),
        why=str(line.get("why") or ""),
        attempts=int(line.get("attempts") or 0),
        tokens=int(line.get("tokens") or 0),
        seconds=float(line.get("seconds") or 0),
        final_loss=None if loss is None else float(loss),
        curve=_curve(line.get("curve") or []),
        metrics=metrics,
        samples=samples,
        tokenizer=str(line.get("tokenizer") or ""),
        corpus=str(line.get("corpus") or ""),
    )


def _curve(points: Sequence[Sequence[float | None]]) -> tuple[tuple[float, float], ...]:
    """What can be drawn of a curve: that of a diverged run ends in losses that are no numbers."""
    pairs = [(x, y) for x, y in points if x is not None and y is not None]
    return tuple((float(x), float(y)) for x, y in pairs if math.isfinite(y))


def _finite(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise StudyError(
            f"{where}: found {_shown(value)}, expected a finite number; a run without one has "
            "diverged and must say so in its state"
        )
    return float(value)


def _share(study: Mapping[str, Any], name: str, default: float, where: str) -> float:
    value = study.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise StudyError(f"{where}: {name}: found {_shown(value)}, expected a number in (0, 1)")
    return float(value)


def _text(entry: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = entry.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise StudyError(f"{where}: {name}: found {_shown(value)}, expected a text")
    return value


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StudyError(f"{where}: found no JSON ({error}), expected an object") from None
    if not isinstance(found, dict):
        raise StudyError(f"{where}: found {_shown(found)}, expected an object")
    return found


def _bytes(path: Path, todo: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StudyError(f"{path}: found no such file, expected a study's; {todo}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
