"""Studies run, go on, and fail: over a fake worker that trains nothing (``fake_trainer``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixtures.studies.arms import resolve_arms
from mixtures.studies.corpora import Corpora
from mixtures.studies.loading import load_study
from mixtures.studies.pool import environment_of
from mixtures.studies.ray_pool import share_of
from mixtures.studies.results import StudyResults
from tests.mixtures.faked_studies import (
    FAKE,
    arm_that,
    make_corpus,
    run_faked,
    starts,
    study_file,
)

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("trainer_asked_once")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "run")


def test_workers_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(9)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    monkeypatch.setenv("RANK", "1")
    found = environment_of(3, 4)
    assert (found["OMP_NUM_THREADS"], found["NUMBA_NUM_THREADS"]) == ("2", "1")
    assert found["CUDA_VISIBLE_DEVICES"] == "5"
    assert "RANK" not in found
    assert environment_of(0, 20)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment_of(0, 4)["CUDA_VISIBLE_DEVICES"] == ""


def _states(found: StudyResults) -> dict[str, set[str]]:
    states: dict[str, set[str]] = {}
    for line in found.results:
        states.setdefault(line["arm"], set()).add(line["state"])
    return states


def test_every_run_has_a_line_in_the_studys_order_for_any_workers(
    tmp_path: Path, corpus: Path
) -> None:
    path = study_file(tmp_path, corpus)
    one, two = (run_faked(path, tmp_path / str(n), n) for n in (1, 2))
    assert [(r["arm"], r["seed"]) for r in one.results] == [
        (arm, seed) for arm in ("clean", "worse") for seed in range(4)
    ]
    assert one.complete

    def lasting(found: StudyResults) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in found.results]

    assert lasting(one) == lasting(two)
    written = (tmp_path / "1" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == one.results
    first = one.results[0]
    assert first["metrics"]["bits_per_byte"]["prose"] == pytest.approx(1.5)
    assert first["final_loss"] == pytest.approx(3.0)
    assert first["curve"][-1] == [4096, pytest.approx(3.0)]
    assert first["attempts"] == 1
    assert (tmp_path / "1/runs" / first["key"] / "train/metrics.jsonl").is_file()


def test_bits_per_byte_of_all_leave_out_what_does_not_count(tmp_path: Path, corpus: Path) -> None:
    both = run_faked(study_file(tmp_path, corpus), tmp_path / "both").results[0]["metrics"]
    # 100 tokens at loss / 2 a byte and 300 at loss: 200 and 300 bytes (times 1 / ln 2).
    assert both["bits_per_byte"]["all"] == pytest.approx(3.0 * 400 / 500)
    metrics = {"held_out": {"except_sources": ["noise"]}}
    less = run_faked(study_file(tmp_path, corpus, "less", metrics=metrics), tmp_path / "less")
    assert less.results[0]["metrics"]["bits_per_byte"]["all"] == pytest.approx(1.5)
    assert less.study["metrics"]["held_out"]["except_sources"] == ["noise"]


def test_a_finished_study_trains_nothing_again(tmp_path: Path, corpus: Path) -> None:
    path, out = study_file(tmp_path, corpus), tmp_path / "out"
    first = run_faked(path, out)
    assert starts(out) == 8
    assert run_faked(path, out).results == first.results
    assert starts(out) == 8


def test_what_is_measured_anew_is_not_trained_anew(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    run_faked(study_file(tmp_path, corpus), out)
    metrics = {"held_out": {"sources": ["prose"]}}
    found = run_faked(study_file(tmp_path, corpus, metrics=metrics), out)
    assert starts(out) == 8
    assert found.results[0]["metrics"]["bits_per_byte"]["all"] == pytest.approx(1.5)


def test_weights_that_are_not_kept_are_made_again_where_they_are_wanted(
    tmp_path: Path, corpus: Path
) -> None:
    out = tmp_path / "out"
    first = run_faked(study_file(tmp_path, corpus, keep_checkpoints=False), out)
    assert first.complete
    assert not list((out / ".runs").glob("*/train/checkpoints"))
    assert (
        run_faked(study_file(tmp_path, corpus, keep_checkpoints=False), out).results
        == first.results
    )
    assert starts(out) == 8, "its results stand without the weights"
    metrics = {"held_out": {"sources": ["prose"]}}
    found = run_faked(study_file(tmp_path, corpus, metrics=metrics), out)
    assert found.complete
    assert starts(out) == 16
    assert len(list((out / ".runs").glob("*/train/checkpoints/step-*"))) == 8


def test_identical_arms_are_computed_once_and_said_to_be(tmp_path: Path, corpus: Path) -> None:
    same = arm_that("all", None)
    path = study_file(tmp_path, corpus, arms={"clean": same, "again": same})
    found = run_faked(path, tmp_path / "out")
    assert starts(tmp_path / "out") == 4
    assert found.study["arms"]["again"]["same_as"] == "clean"
    assert found.study["arms"]["clean"]["same_as"] is None
    assert len(found.results) == 8
    assert found.complete


def test_other_tiers_are_other_runs_of_a_mixture_that_names_them(
    tmp_path: Path, corpus: Path
) -> None:
    high = {"mixture": {"components": {"a": {"tiers": ["high"], "weight": "100%"}}}}
    path = study_file(tmp_path, corpus, arms={"clean": None, "high": high})
    arms = resolve_arms(load_study(path), Corpora(tmp_path), tmp_path)

    def identities(tiers: str | None) -> list[dict[str, Any]]:
        return [
            replace(arm, corpus=replace(arm.corpus, tiers=tiers)).identity(0, "") for arm in arms
        ]

    none, one, other = (identities(tiers) for tiers in (None, "one", "other"))
    assert none[0] == one[0] == other[0], "a mixture that names none reads the same documents"
    assert one[1] != other[1]
    assert none == [arm.identity(0, "") for arm in arms]


def test_a_loss_that_is_no_number_or_climbs_ends_its_run_for_good(
    tmp_path: Path, corpus: Path
) -> None:
    path, out = (
        study_file(tmp_path, corpus, arms={"clean": None, "a": "nan", "b": "climb"}),
        tmp_path,
    )
    found = run_faked(path, out / "out")
    assert _states(found) == {"clean": {"finished"}, "a": {"diverged"}, "b": {"diverged"}}
    lines = {line["arm"]: line for line in found.results}
    assert "loss is nan at step 7" in lines["a"]["why"]
    assert "above its first" in lines["b"]["why"]
    assert lines["a"]["attempts"] == 1
    assert lines["a"]["metrics"] == {}
    assert len(lines["a"]["curve"]) < 20  # it was ended, and did not go on to its last step
    assert not found.complete
    before = starts(out / "out")
    assert run_faked(path, out / "out").results == found.results
    assert starts(out / "out") == before


def test_a_run_that_is_killed_goes_on_and_is_given_up_after_three_tries(
    tmp_path: Path, corpus: Path
) -> None:
    path = study_file(tmp_path, corpus, arms={"clean": "die_once", "b": "die"}, seeds=4)
    found = run_faked(path, tmp_path / "out")
    assert _states(found) == {"clean": {"finished"}, "b": {"killed"}}
    clean = [line for line in found.results if line["arm"] == "clean"]
    assert {line["attempts"] for line in clean} == {2}
    lost = found.results[-1]
    assert lost["attempts"] == 3
    assert "signal 9" in lost["why"]


def test_a_refused_run_fails_with_the_trainers_words(tmp_path: Path, corpus: Path) -> None:
    found = run_faked(
        study_file(tmp_path, corpus, arms={"clean": None, "b": "refuse"}), tmp_path / "out"
    )
    assert _states(found) == {"clean": {"finished"}, "b": {"failed"}}
    line = found.results[-1]
    assert line["why"] == "the corpus has too little of it"
    assert line["attempts"] == 1


def test_silence_counts_as_killed(tmp_path: Path, corpus: Path) -> None:
    path = study_file(
        tmp_path, corpus, arms={"clean": "hang"}, seeds=[0], few_seeds=True, watch={"silence": 1.0}
    )
    line = run_faked(path, tmp_path / "out").results[0]
    assert line["state"] == "killed"
    assert line["attempts"] == 3
    assert "nothing was written for 1 s" in line["why"]


def test_an_interrupted_study_leaves_no_worker_and_goes_on(tmp_path: Path, corpus: Path) -> None:
    path, out = (
        study_file(tmp_path, corpus, arms={"clean": "slow"}, baseline="clean"),
        tmp_path / "out",
    )
    script = (
        "import sys; from pathlib import Path; from mixtures.studies.running import run_study;"
        "run_study(Path(sys.argv[1]), out=Path(sys.argv[2]), workers=2, progress=False,"
        " command=(sys.argv[3],))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(out), *FAKE], cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 60
    while starts(out) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    lines = (out / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["missing"] * 4
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    begun = list((out / ".runs").glob("*/train/starts"))
    for file in begun:
        for pid in file.read_text().split():
            assert not _runs(int(pid))
    done = [len((file.parent / "metrics.jsonl").read_text().splitlines()) for file in begun]
    assert 0 < max(done) < 20
    found = run_faked(path, out, workers=4)
    assert found.complete
    steps = [json.loads(s)["step"] for s in (begun[0].parent / "metrics.jsonl").open()]
    assert steps == list(range(1, 21))  # it went on, and did no step twice


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


def test_cores_are_shared_by_the_workers(tmp_path: Path, corpus: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    run_faked(study_file(tmp_path, corpus), tmp_path / "out", workers=cores)
    threads = {path.read_text() for path in (tmp_path / "out/.runs").glob("*/train/threads")}
    assert threads == {"1"}


def test_repetition_reads_nested_parts_of_a_tier(tmp_path: Path, corpus: Path) -> None:
    path = study_file(
        tmp_path, corpus, kind="repetition", baseline=None, arms={},
        repetition={"epochs": [1, 2, 4], "tiers": {"high": {"tiers": ["high"]}}},
    )  # fmt: skip
    found = run_faked(path, tmp_path / "out")
    arms = found.study["arms"]
    assert list(arms) == ["high-x1", "high-x2", "high-x4"]
    for name, arm in arms.items():
        epochs = int(name.removeprefix("high-x"))
        component = arm["mixture"]["components"]["high"]
        assert component["epochs"] == epochs
        assert component["part"]["start"] == 0
        unique = arm["repetition"]["unique_tokens"]
        assert unique * epochs >= 4096
        assert unique < 4096 * 1.005 / epochs + 60  # within a document of it
    from fractions import Fraction

    stops = [
        Fraction(arm["mixture"]["components"]["high"]["part"]["stop"]) for arm in arms.values()
    ]
    assert stops == sorted(stops, reverse=True)


def test_a_tier_that_is_too_small_is_refused(tmp_path: Path, corpus: Path) -> None:
    from dataflow.recipe import RecipeError

    path = study_file(
        tmp_path, corpus, kind="repetition", baseline=None, arms={}, tokens=1 << 20,
        repetition={"epochs": [1, 2], "tiers": {"high": {"tiers": ["high"]}}},
    )  # fmt: skip
    with pytest.raises(RecipeError, match=r"tokens of it in .*expected 1,053,819"):
        run_faked(path, tmp_path / "out")


def test_a_mixture_that_is_wrong_is_told_before_anything_runs(tmp_path: Path, corpus: Path) -> None:
    from dataflow.recipe import RecipeError

    half = {"mixture": {"components": {"a": {"sources": ["prose"], "weight": "50%"}}}}
    path = study_file(tmp_path, corpus, arms={"clean": None, "half": half})
    with pytest.raises(RecipeError, match=r"s\.yaml: arms\.half\.mixture.* found weights of 50%"):
        run_faked(path, tmp_path / "out")
    assert not (tmp_path / "out" / ".runs").exists()


@pytest.mark.parametrize("gpus", [0, 1, 4])
@pytest.mark.parametrize("asked", [None, 1, 3, 4, 6, 9])
def test_a_cluster_holds_all_of_its_actors_at_once(asked: int | None, gpus: int) -> None:
    cores = 2
    count, needs = share_of(asked, gpus, cores)
    if gpus:
        each = int(1 / needs["num_gpus"] + 1e-9)
        assert count == (asked or gpus)
        assert count <= gpus * each, "one more would wait for room, and its job with it"
    else:
        assert (count, needs) == (min(asked or cores, cores), {"num_cpus": 1})


@pytest.mark.long
def test_over_ray_the_results_are_those_of_this_machine(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    path = study_file(tmp_path, corpus, arms={"clean": "die_once", "b": "refuse"})
    here, there = (
        [{k: v for k, v in line.items() if k != "seconds"} for line in found.results]
        for found in (
            run_faked(path, tmp_path / "here"), run_faked(path, tmp_path / "there", ray="local")
        )
    )  # fmt: skip
    assert here == there
