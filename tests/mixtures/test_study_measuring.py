"""A study's items: held against every arm's corpus, made once, and what is left out is said."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mixtures.studies import measuring
from mixtures.studies.analysis import analyse
from mixtures.studies.analysis.reading import read_study
from mixtures.studies.corpora import Corpus
from mixtures.studies.errors import StudyError
from mixtures.studies.measuring import make_items, told_of_items
from mixtures.studies.recipe import BenchmarkOf, HeldOutOf, ItemsOf
from tests.mixtures import invented_studies as invented
from tests.mixtures.faked_studies import make_corpus, run_faked, starts, study_file

HELD = {"one": {"b"}, "two": {"d", "e"}}
"""The lines that documents of a corpus hold."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the room's commands were asked for; they work on lines."""
    commands: list[tuple[str, ...]] = []

    def ask(room: str, argv: Sequence[str], _: str) -> dict[str, Any]:
        assert room == "mixtures"
        commands.append(tuple(argv))
        option = dict(itertools.pairwise(argv))
        if argv[1] == "check":
            lines = Path(argv[2]).read_text().splitlines()
            kept = [line for line in lines if line not in HELD[option["--corpus"]]]
            Path(option["--drop"]).write_text("".join(f"{line}\n" for line in kept))
        else:
            Path(option["--out"]).write_text("a\nb\nc\nd\ne\n")
        return {"ok": True}

    monkeypatch.setattr(measuring, "ask", ask)
    return commands


def test_items_of_any_arms_corpus_are_left_out_and_counted(
    asked: list[tuple[str, ...]], tmp_path: Path
) -> None:
    one, two = Corpus("one", "r1", "t"), Corpus("two", "r2", "t")
    benchmark = tmp_path / "piqa.jsonl"
    benchmark.write_text("{}\n")
    items = ItemsOf(generated=5, benchmarks=(BenchmarkOf(format="piqa", path=str(benchmark)),))
    folder = tmp_path / "items"
    made = make_items(items, HeldOutOf(), [one, one, two], folder)
    assert {name: path.read_text().split() for name, path in made} == {
        "generated": ["a", "c"],
        "piqa": ["a", "c"],
    }
    assert told_of_items(made) == {
        "counts": {"generated": 2, "piqa": 2},
        "left_out": {"generated": 3, "piqa": 3},
    }
    assert len(asked) == 6
    assert make_items(items, HeldOutOf(), [one, two], folder) == made
    assert len(asked) == 6
    make_items(items, HeldOutOf(), [one], folder)
    assert len(asked) == 10
    assert told_of_items(made)["left_out"] == {"generated": 1, "piqa": 1}
    assert sorted(path.name for path in folder.iterdir()) == [
        "generated.json", "generated.jsonl", "piqa.json", "piqa.jsonl",
    ]  # fmt: skip


def test_what_was_left_out_is_said_first(tmp_path: Path) -> None:
    metrics = {
        "primary": "bits_per_byte",
        "items": {"counts": {"piqa": 60, "arc": 9}, "left_out": {"piqa": 12, "arc": 0}},
    }
    content = invented.study(invented.NOISE_ARMS, metrics=metrics)
    rows = invented.results(content, invented.NOISE_EFFECTS)
    found = analyse(read_study(invented.write(tmp_path / "study", content, rows)))
    assert found.warnings[0] == (
        "12 of 72 items of piqa stand in documents that an arm may train on, and are left out."
    )
    assert not any("arc" in warning for warning in found.warnings)


@pytest.mark.usefixtures("trainer_asked_once")
def test_a_benchmark_s_missing_answer_refuses_before_any_run(tmp_path: Path) -> None:
    rows = [
        {"goal": "Boil water", "sol1": "in a kettle", "sol2": "in a bag", "label": 0},
        {"goal": "Cut bread", "sol1": "with a spoon", "sol2": "with a knife"},
    ]
    benchmark = tmp_path / "piqa.jsonl"
    benchmark.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    metrics = {"items": {"benchmarks": [{"format": "piqa", "path": str(benchmark)}]}}
    path = study_file(tmp_path, make_corpus(tmp_path / "run"), metrics=metrics)
    out = tmp_path / "out"
    with pytest.raises(StudyError, match=rf"items piqa: .*{benchmark}.*2.*label"):
        run_faked(path, out)
    assert starts(out) == 0
    assert not (out / "logs").exists(), "a worker was started"
    assert not (out / "items" / "piqa.jsonl").exists()
