"""Studies over the fake worker (``fake_trainer``), which trains nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixtures.studies.results import StudyResults
from mixtures.studies.running import run_study
from tests.mixtures.made_runs import Made, make_run

FAKE = (str(Path(__file__).with_name("fake_trainer.py")),)


def make_corpus(folder: Path) -> Path:
    """A run of 17 thousand tokens of one source in two tiers."""
    documents = [Made("prose", 40 + i % 7, tier="high" if i % 2 else "low") for i in range(400)]
    make_run(folder, documents, shard_documents=100)
    return folder


def study_file(
    tmp_path: Path, corpus: Path | dict[str, str], name: str = "s", **changes: Any
) -> Path:
    """A file of a study whose arms say how their runs act; it is JSON."""
    arms = changes.pop("arms", {"clean": None, "worse": "x"})
    content = {
        "name": name,
        "question": "?",
        "corpus": corpus if isinstance(corpus, dict) else {"run": str(corpus)},
        "model": "tiny",
        "stage": "text_8k",
        "tokens": 4096,
        "seeds": 4,
        "baseline": "clean",
        "arms": {
            arm: (act if isinstance(act, dict) else arm_that(arm, act)) for arm, act in arms.items()
        },
        "watch": {"steps": 3, "silence": 600},
        **changes,
    }
    path = tmp_path / f"{name}.yaml"
    said = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(said, indent=1))
    return path


def arm_that(name: str, act: str | None) -> dict[str, Any]:
    """The component's name makes the arm another than those that act otherwise."""
    mixture: dict[str, Any] = {"components": {name: {"weight": "100%"}}}
    return {"mixture": mixture if act is None else {**mixture, "description": act}}


def run_faked(path: Path, out: Path, workers: int = 2, **more: Any) -> StudyResults:
    """Run a study with the fake worker."""
    return run_study(path, out=out, workers=workers, progress=False, command=FAKE, **more)


def starts(out: Path) -> int:
    """How many trainings were begun in a study's folder."""
    return sum(
        len(path.read_text().splitlines()) for path in (out / ".runs").glob("*/train/starts")
    )
