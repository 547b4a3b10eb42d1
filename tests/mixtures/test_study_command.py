"""``python -m mixtures ablate``: exit codes, what is printed, what is written."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from mixtures.command import main
from mixtures.studies.analysis.reading import read_study
from mixtures.studies.csv_exchange import METRICS, RATIOS, write_csv
from mixtures.studies.errors import StudyError
from mixtures.studies.running import run_study
from tests.mixtures import invented_studies as invented
from tests.mixtures.made_runs import Made, make_run


def ablate(*arguments: str) -> int:
    return main(["ablate", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = invented.study(invented.NOISE_ARMS)
    rows = invented.results(content, invented.NOISE_EFFECTS)
    return invented.write(tmp_path / "invented", content, rows)


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    content = invented.study(invented.NOISE_ARMS)
    rows = invented.lose(
        invented.results(content, invented.NOISE_EFFECTS), "noise30", [1], "diverged", "loss is NaN"
    )
    return invented.write(tmp_path / "incomplete", content, rows)


@dataclass(frozen=True)
class _Results:
    folder: Path


def runs_by(monkeypatch: pytest.MonkeyPatch, answer: Path | BaseException) -> list[dict[str, Any]]:
    """Puts something in the place of the engine of studies; returns what it is called with."""
    calls: list[dict[str, Any]] = []

    def run_study(path: Path, **options: Any) -> _Results:
        calls.append({"study": path, **options})
        if isinstance(answer, BaseException):
            raise answer
        return _Results(answer)

    module = types.ModuleType("mixtures.studies.running")
    module.run_study = run_study  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mixtures.studies.running", module)
    return calls


def test_a_complete_study_ends_with_0(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = runs_by(monkeypatch, folder)
    assert ablate("study.yaml", "--workers", "2", "--out", str(folder), "--ray", "auto") == 0
    [call] = calls
    assert call == {
        "study": Path("study.yaml"), "out": folder, "workers": 2, "ray": "auto", "progress": True,
    }  # fmt: skip
    out = capsys.readouterr().out
    assert "noise30 is worse than clean" in out
    assert f"24 of 24 runs finished; report: {folder / 'report.html'}" in out
    for name in ("analysis.json", "report.html", RATIOS, METRICS):
        assert (folder / name).stat().st_size > 0


def test_json_is_one_object_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [*_] = calls = runs_by(monkeypatch, folder)
    assert ablate("study.yaml", "--json") == 0
    assert calls[0]["progress"] is False
    streams = capsys.readouterr()
    found = orjson.loads(streams.out)
    assert found["ok"] is True
    assert found["decision"].startswith("By bits_per_byte, noise30 is worse")
    assert found == {
        "ok": True, "folder": str(folder), "files": found["files"],
        **orjson.loads((folder / "analysis.json").read_bytes()),
    }  # fmt: skip
    assert streams.err == ""


def test_a_missing_run_ends_with_1_and_the_report_says_so(
    incomplete: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_by(monkeypatch, incomplete)
    assert ablate("study.yaml") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "! 1 run of 24 is diverged: noise30 seed 1 (loss is NaN)."
    assert "This study is not complete." in (incomplete / "report.html").read_text()


def test_report_only_trains_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = runs_by(monkeypatch, folder)
    assert ablate("recipes/studies/invented.yaml", "--report-only", "--out", str(folder)) == 0
    first = (folder / "analysis.json").read_bytes()
    assert ablate("recipes/studies/invented.yaml", "--report-only", "--out", str(folder)) == 0
    assert (folder / "analysis.json").read_bytes() == first, "the same results, the same numbers"
    assert calls == []
    capsys.readouterr()
    monkeypatch.chdir(folder.parent)
    assert ablate("recipes/studies/other.yaml", "--report-only") == 2
    assert "runs/studies/other/study.json: found no such file" in capsys.readouterr().err


def test_outside_runs_are_judged_by_the_same_statistics(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = read_study(folder)
    write_csv(data, outside)
    assert ablate("x.yaml", "--report-only", "--out", str(folder), "--json") == 0
    inside = orjson.loads(capsys.readouterr().out)
    assert ablate("--import-csv", str(outside), "--baseline", "clean", "--json") == 0
    found = orjson.loads(capsys.readouterr().out)
    same = ("effect", "se", "df", "low", "high", "paired", "runs", "p")
    for before, after in zip(
        inside["metrics"][0]["comparisons"], found["metrics"][0]["comparisons"], strict=False
    ):
        if after["alternative"] == before["alternative"]:
            assert {k: after[k] for k in same} == {k: before[k] for k in same}
        assert after["effect"] == pytest.approx(before["effect"], rel=1e-12)
    assert (outside / "report.html").exists()
    assert (outside / RATIOS).read_text().startswith("run,name,prose"), "the given tables stay"


def test_wrong_usage_ends_with_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate() == 2
    assert "found no STUDY" in capsys.readouterr().err
    assert ablate("--import-csv", str(tmp_path)) == 2
    assert "without --baseline" in capsys.readouterr().err
    assert ablate("x.yaml", "--primary", "bpb") == 2
    assert "--primary without --import-csv" in capsys.readouterr().err
    assert ablate("x.yaml", "--import-csv", str(tmp_path), "--baseline", "a") == 2
    assert "expected one of them" in capsys.readouterr().err
    assert ablate("--import-csv", str(tmp_path), "--baseline", "a", "--json") == 2
    found = orjson.loads(capsys.readouterr().out)
    assert (found["ok"], "ratios.csv: found no such file" in found["error"]) == (False, True)
    with pytest.raises(SystemExit) as ended:
        ablate("x.yaml", "--workers", "none")
    assert ended.value.code == 2


def test_a_study_that_cannot_be_run_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_by(monkeypatch, StudyError("runs/quickstart: the corpus could not be built"))
    assert ablate("study.yaml") == 1
    assert capsys.readouterr().err == "error: runs/quickstart: the corpus could not be built\n"
    runs_by(monkeypatch, KeyboardInterrupt())
    assert ablate("study.yaml") == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_tables_of_an_earlier_state_do_not_stay(folder: Path) -> None:
    (folder / RATIOS).write_text("old")
    for plan in folder.glob("runs/*/train/plans/plan-0/plan.json"):
        plan.unlink()
    assert ablate("x.yaml", "--report-only", "--out", str(folder)) == 0
    assert not (folder / RATIOS).exists()
    assert (folder / METRICS).exists()


@pytest.mark.usefixtures("trainer_asked_once")
def test_what_the_engine_wrote_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine of studies over its fake worker, whose arms lose nothing or diverge."""
    corpus = tmp_path / "corpus"
    make_run(corpus, [Made("prose", 40 + i % 7) for i in range(40)])
    arms = {
        name: {"mixture": {"components": {name: {"weight": "100%"}}, "description": act}}
        for name, act in (("clean", "x"), ("same", "y"), ("bad", "nan"))
    }
    content = {
        "name": "faked", "question": "?", "corpus": {"run": str(corpus)}, "model": "tiny",
        "stage": "text_8k", "tokens": 4096, "seeds": 4, "baseline": "clean", "arms": arms,
    }  # fmt: skip
    path = tmp_path / "faked.yaml"
    path.write_bytes(orjson.dumps(content))
    fake = (str(Path(__file__).with_name("fake_trainer.py")),)
    out = tmp_path / "out"
    found = run_study(path, out=out, workers=2, progress=False, command=fake)
    assert not found.complete
    assert ablate(str(path), "--report-only", "--out", str(out), "--json") == 1
    analysis = orjson.loads(capsys.readouterr().out)
    assert analysis["warnings"][0].startswith("4 runs of 12 are diverged: bad seed 0 (loss is nan")
    [same, bad] = analysis["metrics"][0]["comparisons"]
    assert (same["effect"], same["verdict"], same["paired"]) == (0, "not shown", True)
    assert (bad["verdict"], "0 runs of 4 of bad finished" in bad["note"]) == ("not tested", True)
    path.write_text("name: faked\n")
    assert ablate(str(path)) == 2
    assert (
        "faked.yaml:1:1: found nothing, expected a value for 'question'" in capsys.readouterr().err
    )
