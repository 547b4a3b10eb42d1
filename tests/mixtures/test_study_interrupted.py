"""Ctrl-C and SIGTERM: one line, exit code 130, no process left, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.dataflow.corpora import write_corpus, write_recipe
from tests.mixtures.faked_studies import FAKE, make_corpus, starts, study_file

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 180.0

FAKED = """
import functools, sys
from mixtures.studies import running
running.run_study = functools.partial(running.run_study, command=(sys.argv[1],))
from mixtures.command import main
sys.exit(main(sys.argv[2:]))
"""
"""``python -m mixtures`` whose studies have the fake worker."""

ASKING = """
import signal, sys
from mixtures.studies import asking
signal.signal(signal.SIGTERM, signal.default_int_handler)
asking.END_SECONDS = 1.0
asking.ask("tests.mixtures.asked_for_long", sys.argv[1:], "waiting")
"""


class Started:
    """A process, and all that it starts: they have a mark in their environment."""

    def __init__(self, arguments: Sequence[object], cwd: Path) -> None:
        self._mark = f"LEYDEN_TEST={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=cwd, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), name: value},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # What a shell has put into the background ignores it, and so would this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Until something is there; fails where it does not come."""
        until = time.monotonic() + SECONDS
        while not there():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "it did not come so far"
            time.sleep(0.05)

    def interrupted(self, by: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Its exit code and what it wrote."""
        self.process.send_signal(by)
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def running(self) -> list[int]:
        """What runs of it."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                marked = self._mark.encode() in (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # no process, or one that has ended, or another user's
                continue
            if marked:
                found.append(int(folder.name))
        return found


@contextmanager
def started(arguments: Sequence[object], cwd: Path = ROOT) -> Iterator[Started]:
    """Started, and ended with all that it started however the test ends."""
    found = Started(arguments, cwd)
    try:
        yield found
    finally:
        for pid in found.running():
            os.kill(pid, signal.SIGKILL)
        found.process.communicate()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_says_so_and_goes_on(tmp_path: Path, by: signal.Signals) -> None:
    corpus, out = make_corpus(tmp_path / "run"), tmp_path / "out"
    path = study_file(tmp_path, corpus, arms={"clean": "slow"})
    asked = ["-c", FAKED, *FAKE, "ablate", path, "--out", out, "--workers", 2]
    with started(asked) as study:
        study.wait_for(lambda: starts(out) == 2)
        assert len(study.running()) == 3
        code, told, error = study.interrupted(by)
        assert (code, told) == (130, "")
        assert error == "error: interrupted; the same command goes on from here\n"
        assert study.running() == []
    states = [json.loads(line)["state"] for line in (out / "results.jsonl").open()]
    assert states == ["missing"] * 4
    path.write_text(path.read_text().replace("slow", "fast"))
    with started([*asked, "--json"]) as again:
        told, error = again.process.communicate(timeout=SECONDS)
        assert again.process.returncode == 0, error
        assert json.loads(told)["finished"] == 4


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_what_was_asked_ends_with_all_that_it_started(tmp_path: Path, by: signal.Signals) -> None:
    with started(["-c", ASKING, tmp_path]) as asking:
        asking.wait_for((tmp_path / "ready").exists)
        assert len(asking.running()) == 4
        code, _, error = asking.interrupted(by)
        assert code != 0
        assert "KeyboardInterrupt" in error
        assert asking.running() == []


@pytest.mark.parametrize("json_", [False, True])
def test_a_plan_is_interrupted_in_one_line(tmp_path: Path, json_: bool) -> None:
    mixture, pipe = tmp_path / "mine.yaml", tmp_path / "inventory.json"
    mixture.write_text("components: {a: {weight: 100%}}")
    os.mkfifo(pipe)
    asked = ["-m", "mixtures", "plan", mixture, "--inventory", pipe, "--tokens", 4096]
    writers: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):  # nobody reads yet
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    with started([*asked, *(["--json"] if json_ else [])]) as plan:
        plan.wait_for(is_read)
        time.sleep(0.2)  # it waits for what nobody writes
        code, out, error = plan.interrupted()
        os.close(writers[0])
    assert code == 130
    if json_:
        assert (json.loads(out), error) == ({"ok": False, "error": "interrupted"}, "")
    else:
        assert (out, error) == ("", "error: interrupted\n")


@pytest.mark.long
def test_an_interrupted_build_of_a_study_leaves_no_process(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=400)
    recipe = {"recipe": str(write_recipe(tmp_path, partition_bytes="4KiB"))}
    path = study_file(tmp_path, recipe)
    with started(["-m", "mixtures", "ablate", path], tmp_path) as study:
        study.wait_for(lambda: any(tmp_path.glob("runs/small/journal/records/*/*.json")))
        assert len(study.running()) > 2
        code, _, error = study.interrupted()
        assert code == 130
        assert error.endswith("error: interrupted; the same command goes on from here\n")
        assert study.running() == []
