"""Studies run many times over: what is drawn anew, what is trained once, what is counted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.studies.__main__ import main, repeat
from benchmarks.studies.record import Repetition, record, recorded
from benchmarks.studies.redrawing import redrawn
from benchmarks.studies.tally import tally
from benchmarks.studies.telling import told
from mixtures.studies.analysis import analyse
from mixtures.studies.analysis.reading import read_study
from mixtures.studies.errors import StudyError
from mixtures.studies.loading import load_study
from tests.mixtures import invented_studies as invented
from tests.mixtures.made_runs import Made, make_run

RECIPES = Path(__file__).resolve().parents[2] / "recipes/studies"
NULL = ("clean", "null")
FAKE = (str(Path(__file__).with_name("fake_trainer.py")),)


def invented_repetitions(
    folder: Path,
    effects: dict[str, float],
    times: int,
    arms: Sequence[str] = tuple(invented.NOISE_ARMS),
    **lost: Any,
) -> list[Repetition]:
    """Of a study's results invented with other noise each time."""
    found = []
    for turn in range(times):
        chosen = {name: invented.NOISE_ARMS[name] for name in arms}
        content = invented.study(chosen, name=f"invented-{turn}")
        rows = invented.results(content, effects, sigma_pair=0.02, seed=turn)
        if lost and turn == 0:
            rows = invented.lose(rows, **lost)
        analysis = analyse(read_study(invented.write(folder / str(turn), content, rows)))
        found.append(Repetition.of(analysis, str(turn)))
    return found


def test_a_repetition_has_other_seeds_and_documents() -> None:
    loaded = load_study(RECIPES / "quickstart.yaml")
    first, third = redrawn(loaded, 0), redrawn(loaded, 2)
    assert first["name"] == "quickstart"
    assert third["name"] == "quickstart-2"
    assert third["seeds"] == [28, 29, 30, 31]
    assert third["arms"]["null"]["seeds"] == [38, 39, 40, 41]
    for name, salt in (("clean", "quickstart"), ("null", "quickstart")):
        of_first = first["arms"][name]["mixture"]["components"]["manuals"]["part"]
        assert of_first["salt"] == salt
        of_third = third["arms"][name]["mixture"]["components"]["manuals"]["part"]
        assert of_third == {**of_first, "salt": f"{salt}-2"}, "halves stay disjoint"
    assert loaded.tree.data["arms"]["clean"]["mixture"]["components"]["manuals"]["part"] == {
        "salt": "quickstart", "start": 0, "stop": "1/2"
    }, "the study itself is not changed"  # fmt: skip


def test_the_nulls_are_runs_of_the_quickstart_study() -> None:
    quick = load_study(RECIPES / "quickstart.yaml")
    nulls = load_study(RECIPES / "nulls.yaml")
    for turn in (0, 7):
        ours, theirs = redrawn(nulls, turn), redrawn(quick, turn)
        for arm in ("clean", "null"):
            assert ours["arms"][arm] == theirs["arms"][arm]
        kept = ("corpus", "model", "stage", "scale", "tokens", "batch", "rate", "metrics")
        assert {k: ours[k] for k in kept} == {k: theirs[k] for k in kept}


def test_effects_are_counted_beside_their_promise(tmp_path: Path) -> None:
    effects = {"noise10": 0.012, "noise30": 0.3}
    found = tally("invented", invented_repetitions(tmp_path, effects, 12))
    by_name = {count.what: count for count in found.effects}
    assert list(by_name) == [
        "noise10 against clean", "noise30 against clean", "noise30 against noise10"
    ]  # fmt: skip
    large, small = by_name["noise30 against clean"], by_name["noise10 against clean"]
    assert (large.found, large.of) == (12, 12)
    assert large.promised == pytest.approx(1, abs=1e-6)
    assert large.effect == pytest.approx(0.3, abs=0.03)
    assert small.promised is not None
    assert 0.05 < small.promised < 0.95
    assert small.low <= small.promised <= small.high
    assert found.nulls is not None
    assert (found.nulls.of, found.nulls.promised) == (12, 0.05)
    assert "12 null pairs: 20 or more are needed" in told(found)
    assert found.complete == 12


def test_nulls_that_differ_are_not_kept(tmp_path: Path) -> None:
    found = tally("invented", invented_repetitions(tmp_path, {"null": 0.2}, 20, NULL))
    assert found.nulls is not None
    assert (found.nulls.found, found.nulls.of, found.nulls.kept) == (20, 20, False)
    assert "are needed" not in told(found)


def test_nulls_that_are_a_little_worse_each_time_are_seen_together(tmp_path: Path) -> None:
    repetitions = invented_repetitions(tmp_path, {"null": 0.009}, 20, NULL)
    found = tally("invented", repetitions)
    effects = [c.effect for one in repetitions for c, _ in one.nulls if c.effect is not None]
    assert found.nulls is not None
    assert found.null_mean is not None
    assert found.nulls.kept, "each alone is too little to be found"
    assert found.null_mean.pairs == 20
    assert found.null_mean.mean == pytest.approx(sum(effects) / 20)
    assert found.null_mean.p < 0.05
    assert 0 < found.null_mean.low < found.null_mean.mean < found.null_mean.high
    assert "Null pairs differ by +0.0" in told(found)
    assert tally("invented", repetitions[:1]).null_mean is None


@pytest.mark.parametrize(("effect", "told"), [(0.0, "no difference"), (0.2, "differs by ")])
def test_a_study_of_a_null_alone_says_what_it_shows(
    tmp_path: Path, effect: float, told: str
) -> None:
    arms = {name: invented.NOISE_ARMS[name] for name in ("clean", "null")}
    content = invented.study(arms)
    rows = invented.results(content, {"null": effect}, seed=5)
    decision = analyse(read_study(invented.write(tmp_path, content, rows))).decision
    assert decision.startswith(f"By bits_per_byte, the null arm null: {told}")


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    lost: dict[str, Any] = {
        "arm": "noise30",
        "seeds": [0, 1, 2, 3],
        "state": "killed",
        "why": "signal 9",
    }
    found = tally("invented", invented_repetitions(tmp_path, invented.NOISE_EFFECTS, 2, **lost))
    assert found.complete == 1
    text = told(found)
    assert "! 1 repetition of 2 lost runs." in text
    assert "! not tested: invented-0: noise30 against clean: 2 runs of 6" in text
    by_name = {count.what: count for count in found.effects}
    assert by_name["noise30 against clean"].of == 1


def test_a_record_gives_back_what_was_put_in_and_names_a_bad_line(tmp_path: Path) -> None:
    found = invented_repetitions(tmp_path, invented.NOISE_EFFECTS, 2)
    path = tmp_path / "record.jsonl"
    for one in found:
        record(path, one)
    assert list(recorded(path).values()) == found
    with path.open("a") as file:
        file.write('{"key": "x"}\n')
    with pytest.raises(StudyError, match=r"record.jsonl, line 3: found no repetition"):
        recorded(path)


@pytest.mark.usefixtures("trainer_asked_once")
def test_repetitions_go_through_the_engine_and_share_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "corpus", [Made("prose", 40 + i % 7) for i in range(40)])
    Path("mine.yaml").write_text("name: mine\ncomponents: {all: {weight: 100%}}\n")
    content = {
        "name": "faked", "question": "?", "corpus": {"run": "corpus"}, "model": "tiny",
        "stage": "text_8k", "tokens": 4096, "seeds": 4, "baseline": "clean",
        "arms": {
            "clean": {"mixture": "mine.yaml"},
            "null": {"mixture": "mine.yaml", "role": "null", "seeds": [10, 11, 12, 13]},
        },
    }  # fmt: skip
    path = Path("faked.yaml")
    path.write_bytes(orjson.dumps(content))
    kept = tmp_path / "record.jsonl"
    found, folder = repeat(path, 2, workers=2, progress=False, command=FAKE, kept=kept)
    assert found.nulls is not None
    assert (found.nulls.of, found.complete, found.effects) == (2, 2, ())
    assert orjson.loads((folder / "repetitions.json").read_bytes())["nulls"]["of"] == 2
    assert "null pairs found to differ" in (folder / "repetitions.md").read_text()
    starts = list(Path("runs/studies/.runs").glob("*/train/starts"))
    assert len(starts) == 16, "four seeds of two arms, twice"
    second, _ = repeat(path, 2, first=1, workers=2, progress=False, command=FAKE, kept=kept)
    assert (second.planned, second.complete) == (1, 1), "the second alone"
    shutil.rmtree("runs/studies")
    again, _ = repeat(path, 2, workers=2, progress=False, command=FAKE, kept=kept)
    assert again == found
    assert not list(Path("runs/studies/.runs").glob("*")), "what is recorded is not run again"
    path.write_bytes(orjson.dumps({**content, "tokens": 2048}))
    repeat(path, 1, workers=2, progress=False, command=FAKE, kept=kept)
    starts = list(Path("runs/studies/.runs").glob("*/train/starts"))
    assert len(starts) == 8, "another study"
    repeat(path, 1, workers=2, progress=False, command=FAKE, kept=tmp_path / "other.jsonl")
    assert all(len(one.read_text().splitlines()) == 1 for one in starts), "each trained once"
    path.write_text("name: faked\n")
    assert main([str(path)]) == 2
    assert "expected a value for 'question'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(path), "--repetitions", "2", "--first", "2"])
    assert "--first: found 2, expected 0 to 1" in capsys.readouterr().err
