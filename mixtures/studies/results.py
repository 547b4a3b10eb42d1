"""A study's folder: ``study.json``, and ``results.jsonl`` with a line for every planned run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mixtures.studies.arms import Arm
from mixtures.studies.recipe import StudyRecipe
from mixtures.studies.store import write

STUDY, RESULTS = "study.json", "results.jsonl"
NOT_RUN = "it has not been run yet"


@dataclass(frozen=True)
class StudyResults:
    """A study that was run: its folder, ``study.json``'s content, and the lines of
    ``results.jsonl``, arm after arm in the study's order and seed after seed."""

    folder: Path
    study: dict[str, Any]
    results: list[dict[str, Any]]

    @property
    def complete(self) -> bool:
        """Whether every planned run finished."""
        return all(line["state"] == "finished" for line in self.results)


def study_content(
    study: StudyRecipe,
    arms: Sequence[Arm],
    precision: str,
    workers: int,
    items: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """What ``study.json`` holds: the study as it was resolved."""
    metrics = study.metrics.model_dump(mode="json")
    metrics["items"] |= items
    return {
        "name": study.name,
        "question": study.question,
        "kind": study.kind,
        "baseline": study.baseline,
        "arms": {arm.name: arm.as_json() for arm in arms},
        "seeds": list(study.seeds),
        "few_seeds": study.few_seeds,
        "documents": study.documents,
        "corpus": study.corpus.model_dump(mode="json", exclude_none=True),
        "model": study.model,
        "stage": study.stage,
        "tokens": study.tokens,
        "batch": study.batch,
        "rate": study.rate,
        "scale": study.scale,
        "precision": precision,
        "repetition": study.model_dump(mode="json")["repetition"],
        "metrics": metrics,
        "alpha": study.alpha,
        "power": study.power,
        "workers": workers,
    }


def write_study(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``study.json``."""
    write(folder / STUDY, content)


def lines_of(
    arms: Sequence[Arm],
    keys: Mapping[tuple[str, int], str],
    results: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A line for each arm and seed; a run without a result is ``missing``.

    Parameters
    ----------
    keys : of each arm and seed
    results : by key
    """
    found = []
    for arm in arms:
        for seed in arm.seeds:
            key = keys[arm.name, seed]
            line = {"arm": arm.name, "seed": seed, **results.get(key, _missing(arm, key))}
            line.pop("evaluated", None)
            found.append(line)
    return found


def write_results(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write ``results.jsonl``, whole or not at all."""
    path = folder / RESULTS
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    part.replace(path)


def _missing(arm: Arm, key: str) -> dict[str, Any]:
    return {
        "key": key,
        "state": "missing",
        "why": NOT_RUN,
        "attempts": 0,
        "tokens": 0,
        "seconds": 0.0,
        "final_loss": None,
        "curve": [],
        "metrics": {},
        "samples": {},
        "tokenizer": arm.corpus.tokenizer,
        "corpus": arm.corpus.root,
    }
