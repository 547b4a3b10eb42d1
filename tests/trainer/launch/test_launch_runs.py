"""Runs by the launcher: the bits of torchrun, a signal that saves, one error for all ranks."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainer.ranks import run_ranks
from tests.trainer.run.small_runs import LENGTH, MODEL, curve, stage
from trainer.command import main
from trainer.megatron import checkpoints

ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def asked(built_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a small stage, without ``--out``."""
    folder = tmp_path_factory.mktemp("recipes")
    tokens = 400 * 4 * LENGTH
    model, first = folder / f"{MODEL.name}.yaml", folder / "first.yaml"
    model.write_text(MODEL.model_dump_json())
    whole = stage(
        tokens=tokens,
        batch=[{"at": 0, "tokens": 4 * LENGTH}],
        schedule={"phases": [{"until": tokens, "rate": 1e-3}]},
    )
    first.write_text(whole.model_dump_json())
    return [
        "-m", "trainer", "run", "--stage", str(first), "--model", str(model),
        "--corpus", str(built_run), "--deterministic", "--ep", "2", "--epochs", "100",
    ]  # fmt: skip


def called(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def reached(out: Path, steps: int) -> None:
    """Wait until a run has taken some steps."""
    until, file = time.monotonic() + 200, out / "metrics.jsonl"
    while not file.exists() or file.read_bytes().count(b"\n") < steps:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_run_saved_by_a_signal_goes_on_over_ray_with_the_same_bits(
    asked: Sequence[str], tmp_path: Path
) -> None:
    out, straight = tmp_path / "launched", tmp_path / "straight"
    here = called(*asked, "--out", out, "--processes", 2)
    reached(out, 2)
    here.send_signal(signal.SIGTERM)
    code, text, err = done(here)
    assert code == 0, err
    at = len(curve(out))
    assert f"paused at step {at} of 400 (asked to end by a signal)" in text
    assert "first  step 1/400" in err  # the first rank's line
    assert f"checkpoint of step {at}" in err
    more = ("--resume", "--steps", at + 2, "--ray", "local", "--processes", 2, "--json")
    code, text, err = done(called(*asked, "--out", out, *more))
    assert code == 0, err
    assert err == ""
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [at + 1, at + 2, at + 2]
    assert (lines[-1]["ok"], lines[-1]["state"]) == (True, "paused")
    ranks = [*asked[2:], "--out", str(straight), "--steps", str(at + 2), "--json"]
    assert run_ranks(main, 2, ranks) == [0, 0]  # with what torchrun would set
    assert curve(out) == curve(straight)


@pytest.mark.long
def test_torchrun_has_the_same_bits(asked: Sequence[str], tmp_path: Path) -> None:
    out, straight = tmp_path / "launched", tmp_path / "straight"
    few = ("--steps", 12, "--json")
    for code, _, err in (
        done(called(*TORCHRUN, *asked, *few, "--out", straight)),
        done(called(*asked, *few, "--out", out, "--processes", 2)),
    ):
        assert code == 0, err
    assert len(curve(out)) == 12
    assert curve(out) == curve(straight)


@pytest.mark.long
@pytest.mark.parametrize("by", [TORCHRUN, ()], ids=["torchrun", "launcher"])
def test_a_chain_runs_through_its_stages(
    by: Sequence[str], built_run: Path, tmp_path: Path
) -> None:
    """Each stage starts its process groups in the processes of the one before."""
    out = tmp_path / "text_128k"
    code, _, err = done(
        called(
            *by, "-m", "trainer", "run", "--chain", "--stage", "text_128k", "--model", "tiny",
            "--corpus", built_run, "--tokens", "32Ki", "--batch", "8Ki", "--epochs", 100,
            "--steps", 1, "--out", out, *(() if by else ("--processes", 2)),
        )
    )  # fmt: skip
    assert code == 0, err
    before = json.loads((tmp_path / "text_8k" / "outcome.json").read_text())
    assert before["state"] == "finished"
    assert len(curve(out)) == 1


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_over_ray(
    number: signal.Signals, asked: Sequence[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = called(*asked, "--out", out, "--processes", 2, "--ray", "local")
    reached(out, 2)
    process.send_signal(number)
    code, text, err = done(process)
    assert code == 0, err
    assert "asked to end by a signal" in text
    assert checkpoints.latest(out / "checkpoints") == len(curve(out))


@pytest.mark.long
@pytest.mark.parametrize("where", [(), ("--ray", "local")], ids=["here", "ray"])
def test_errors_are_those_of_one_process(
    where: Sequence[str], asked: Sequence[str], tmp_path: Path
) -> None:
    wrong = ("--stage", tmp_path / "none.yaml", "--out", tmp_path / "out")
    several = ("--processes", 2, *where)
    for more in ((), ("--json",)):
        one, two = (done(called(*asked, *wrong, *more, *launched)) for launched in ((), several))
        assert one == two
        assert one[0] == 2


@pytest.mark.long
@pytest.mark.parametrize("where", [(), ("--ray", "local")], ids=["here", "ray"])
def test_a_rank_that_is_killed_ends_the_run_with_one_error(
    where: Sequence[str], asked: Sequence[str], tmp_path: Path
) -> None:
    process = called(*asked, "--out", tmp_path / "out", "--processes", 2, *where)
    reached(tmp_path / "out", 2)
    victim = next(worker for worker in workers(tmp_path / "out") if worker.environ()["RANK"] == "1")
    victim.kill()
    code, _, err = done(process)
    assert code == 1
    assert re.search("^error: rank 1 of 2.* was ended by SIGKILL", err, re.MULTILINE)
    assert "Traceback" not in err
    assert not workers(tmp_path / "out")


@pytest.mark.long
@pytest.mark.parametrize("where", [(), ("--ray", "local")], ids=["here", "ray"])
def test_ranks_whose_launcher_is_killed_save_and_end(
    where: Sequence[str], asked: Sequence[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = called(*asked, "--json", "--out", out, "--processes", 2, *where)
    reached(out, 2)
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while workers(out):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert checkpoints.latest(out / "checkpoints") == len(curve(out))


def workers(out: Path) -> list[psutil.Process]:
    """The ranks of the run in ``out``."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if "trainer.launch.worker" in line and str(out) in line:
                found.append(process)
    return found
