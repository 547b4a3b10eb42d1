"""``python -m benchmarks.studies STUDY --repetitions N``: run a study N times over and count.

Each repetition has seeds and samples of documents of its own and lies in ``runs/studies/NAME-N``;
trainings are shared with every other study, and the same command goes on where it stopped. What a
complete repetition found is appended to ``benchmarks/studies/results.jsonl`` and taken from there
another time, on another machine too where its corpus is the same: ``--first K`` begins with
repetition K (from 0), so that machines share them out. Exit codes: 0 all runs finished,
1 some did not (the table says so), 2 the study is wrong, 130 stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.studies.record import RECORD, Repetition, key_of, record, recorded
from benchmarks.studies.redrawing import write_redrawn
from benchmarks.studies.tally import Tally, tally
from benchmarks.studies.telling import told
from dataflow.recipe import RecipeError
from mixtures.studies.analysis.reading import read_study
from mixtures.studies.command import STUDIES, judge
from mixtures.studies.errors import StudyError
from mixtures.studies.loading import load_study
from mixtures.studies.running import arms_of, run_study
from mixtures.studies.worker import WORKER


def repeat(
    study: Path,
    turns: int,
    *,
    first: int = 0,
    workers: int | None = None,
    ray: str | None = None,
    progress: bool = True,
    command: Sequence[str] = WORKER,
    kept: Path = RECORD,
) -> tuple[Tally, Path]:
    """Run the repetitions ``first`` to ``turns - 1`` that are not in the record ``kept``, judge
    each, write ``repetitions.json`` and ``.md`` of them; returns the folder.

    Raises
    ------
    RecipeError
        If the study is wrong.
    StudyError
        If a repetition cannot be run.
    """
    folder = STUDIES / f"{study.stem}.repetitions"
    known = recorded(kept)
    repetitions = []
    for path in write_redrawn(study, turns, folder)[first:]:
        loaded = load_study(path)
        key = key_of(loaded.recipe, arms_of(loaded, folder))
        if key not in known:
            found = run_study(path, workers=workers, ray=ray, progress=progress, command=command)
            analysis, _ = judge(read_study(found.folder), found.folder)
            known[key] = Repetition.of(analysis, key)
            if analysis.complete:
                record(kept, known[key])
        repetitions.append(known[key])
    counted = tally(study.stem, repetitions)
    (folder / "repetitions.json").write_bytes(
        orjson.dumps(counted.as_json(), option=orjson.OPT_INDENT_2)
    )
    (folder / "repetitions.md").write_text(told(counted), "utf-8")
    return counted, folder


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies",
        description="Run a study many times over, with other seeds and samples of documents, and "
        "count how often it judges as its statistics promise.",
    )
    parser.add_argument("study", type=Path, help="its YAML file")
    parser.add_argument("--repetitions", type=int, default=10, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with this one")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that train at once")
    parser.add_argument("--ray", metavar="ADDRESS", help="train over this Ray cluster")
    parser.add_argument(
        "--record", type=Path, default=RECORD, metavar="FILE", help="what is known already"
    )
    options = parser.parse_args(arguments)
    if options.repetitions < 1:
        parser.error(f"--repetitions: found {options.repetitions}, expected 1 or more")
    if not 0 <= options.first < options.repetitions:
        parser.error(
            f"--first: found {options.first}, expected 0 to {options.repetitions - 1}: "
            "the last repetition is --repetitions less 1"
        )
    try:
        found, folder = repeat(
            options.study,
            options.repetitions,
            first=options.first,
            workers=options.workers,
            ray=options.ray,
            kept=options.record,
        )
    except RecipeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except StudyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from here\n")
        return 130
    sys.stdout.write(f"{told(found)}\n{folder / 'repetitions.json'}\n")
    return 0 if found.complete == found.planned else 1


if __name__ == "__main__":
    raise SystemExit(main())
