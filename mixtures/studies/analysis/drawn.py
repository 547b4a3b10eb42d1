"""What the arms really drew: the account in the head of a finished run's plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mixtures.studies.analysis.records import RunRecord, StudyData

RUNS = "runs"
_PLANS = ("train/plans/plan-*/plan.json", "plans/plan-*/plan.json")


@dataclass(frozen=True)
class Drawn:
    """A component of an arm's plan: documents and tokens the corpus has of it, tokens ``drawn``,
    and the most that a document may be read."""

    component: str
    documents: int
    tokens: int
    drawn: int
    cap: int

    @property
    def epochs(self) -> float:
        """How often its tokens were read on average."""
        return self.drawn / self.tokens if self.tokens else 0.0


def drawn_by_arm(data: StudyData) -> dict[str, list[Drawn]]:
    """The components of each arm whose plan lies in the study's folder.

    The plans of an arm's runs differ in their seed only, so that the first finished one speaks for
    all. Arms of outside runs have none.
    """
    found = {}
    for arm in data.arms:
        for run in data.of(arm):
            components = _of_run(data, run) if run.finished else []
            if components:
                found[arm] = components
                break
    return found


def shares(components: list[Drawn]) -> dict[str, float]:
    """Each component's share of the tokens drawn."""
    total = sum(component.drawn for component in components)
    return {c.component: c.drawn / total if total else 0.0 for c in components}


def _of_run(data: StudyData, run: RunRecord) -> list[Drawn]:
    if data.folder is None or not run.key:
        return []
    base = data.folder / RUNS / run.key
    heads = [path for pattern in _PLANS for path in sorted(base.glob(pattern))]
    return _components(heads[0]) if heads else []


def _components(path: Path) -> list[Drawn]:
    head: dict[str, Any] = orjson.loads(path.read_bytes())
    caps = {c["name"]: int(c.get("epochs", 1)) for c in head["spec"]["components"]}
    return [
        Drawn(
            component=part["name"],
            documents=int(part["documents"]),
            tokens=int(part["tokens"]),
            drawn=int(part["drawn"]),
            cap=caps[part["name"]],
        )
        for part in head["components"]
    ]
