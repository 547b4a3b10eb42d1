"""Ranks on this machine: what they are told, and how they end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainer.launch.fake_rank import FAKE
from trainer.launch.errors import LaunchFailed
from trainer.launch.launch import is_wanted
from trainer.launch.local import LocalGroup, run_here
from trainer.launch.supervise import supervise
from trainer.launch.verdict import conclude

ROOT = Path(__file__).resolve().parents[3]


def ended(what: str, folder: Path) -> int:
    """What two ranks that do ``what`` come to."""
    group = LocalGroup(2, [what], folder, FAKE)
    # Time for both to say what they have to say, where neither would wait.
    grace = 0.3 if "wait" in what else 20
    return conclude(supervise(group, grace=grace), group.names)


def test_ranks_are_told_what_torchrun_tells_and_the_first_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert run_here(2, ["tell", str(tmp_path)], command=FAKE) == 0
    told = [(tmp_path / str(rank)).read_text().split("\n") for rank in (0, 1)]
    assert [x[:5] for x in told] == [
        ["0", "2", "0", "2", "127.0.0.1"], ["1", "2", "1", "2", "127.0.0.1"]
    ]  # fmt: skip
    assert told[0][5] == told[1][5]
    assert 1024 < int(told[0][5]) < 65536
    assert [x[6] for x in told] == ["1", "1"]
    assert [x[7] for x in told] == [told[0][5], "none"]
    out, err = capfd.readouterr()
    assert out == "rank 0 to output\n"
    assert err == "rank 0 to errors; a terminal: False\n"


def test_a_code_that_is_no_failure_is_the_commands(tmp_path: Path) -> None:
    assert ended("stopped", tmp_path) == 1


@pytest.mark.parametrize(
    ("what", "text", "code"),
    [
        ("refuse", "^no such stage, says 0$", 2),
        ("wait,refuse", "^rank 1 of 2: no such stage, says 1$", 2),
        ("follow,crash", r"^rank 1 of 2 crashed:\nTraceback: ValueError: by itself$", 1),
        ("die,follow", "^rank 0 of 2 was ended by SIGKILL .is the machine short of memory", 1),
        ("follow,die", r"^rank 1 of 2 was .*; the last that it wrote:\nthe last words$", 1),
        ("die,refuse", "^rank 1 of 2: no such stage, says 1$", 2),
        ("follow,wait", r"^rank 0 of 2 lost another rank:\nConnection closed by peer$", 1),
        ("return,wait", "^rank 0 of 2 ended with exit code 0$", 1),
    ],
)
def test_the_error_that_explains_most_is_told_and_all_ranks_end(
    what: str, text: str, code: int, tmp_path: Path
) -> None:
    begun = time.monotonic()
    with pytest.raises(LaunchFailed, match=text) as failed:
        ended(what, tmp_path)
    assert failed.value.code == code
    assert time.monotonic() - begun < 30  # no rank was waited for to its end


def launcher(what: str, folder: Path) -> subprocess.Popen[bytes]:
    """A process that launches two ranks, once they are ready for signals."""
    code = (
        "import sys; from tests.trainer.launch.fake_rank import FAKE; "
        "from trainer.launch.local import run_here; "
        f"sys.exit(run_here(2, [{what!r}, {str(folder)!r}], command=FAKE))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until = time.monotonic() + 30
    while not all((folder / rank).exists() for rank in "01"):
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def notes(folder: Path) -> list[str]:
    return [(folder / rank).read_text() for rank in "01"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_rank_once_and_is_no_failure(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = launcher("save", tmp_path)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert notes(tmp_path) == [number.name] * 2


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    process = launcher("ignore", tmp_path)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    assert notes(tmp_path) == ["ready"] * 2


def test_a_signal_that_ranks_do_not_listen_to_yet_ends_the_launcher_too(tmp_path: Path) -> None:
    process = launcher("deaf", tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT


def test_ranks_save_and_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    process = launcher("save", tmp_path)
    process.kill()
    process.wait(30)
    until = time.monotonic() + 30
    while notes(tmp_path) != ["SIGTERM"] * 2:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_under_torchrun_nothing_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_wanted(None, None)
    assert not is_wanted(1, None)
    assert is_wanted(2, None)
    assert is_wanted(None, "auto")
    monkeypatch.setattr(os, "environ", {"RANK": "0", "WORLD_SIZE": "2"})
    assert not is_wanted(None, None)
    assert not is_wanted(2, None)
    with pytest.raises(LaunchFailed, match="--processes: found 3, expected 2"):
        is_wanted(3, None)
    with pytest.raises(LaunchFailed, match="--ray auto: found RANK or WORLD_SIZE"):
        is_wanted(2, "auto")
