"""What ranks under torchrun say of an error that all of them have: it is said once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainer.launch import one_voice
from trainer.launch.one_voice import tell_once

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """An agent's store, as torchrun's; and what it tells ranks."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    return store


@pytest.mark.usefixtures("agent")
def test_each_error_is_told_once() -> None:
    told: list[tuple[int, str]] = []
    texts = ["no stage", "no stage", "no shard", "no stage"]
    with ThreadPoolExecutor(len(texts)) as ranks:
        for one in [
            ranks.submit(tell_once, text, partial(told.append, (rank, text)))
            for rank, text in enumerate(texts)
        ]:
            one.result()
    assert sorted(text for _, text in told) == ["no shard", "no stage"]


@pytest.mark.usefixtures("agent")
def test_a_silent_rank_waits_until_it_is_told() -> None:
    begun, go_on, told = threading.Event(), threading.Event(), list[str]()

    def slowly() -> None:
        begun.set()
        assert go_on.wait(10)
        told.append("first")

    with ThreadPoolExecutor(2) as ranks:
        first = ranks.submit(tell_once, "text", slowly)
        assert begun.wait(10)
        second = ranks.submit(tell_once, "text", lambda: told.append("second"))
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        go_on.set()
        first.result()
        second.result()
    assert told == ["first"]


@pytest.mark.usefixtures("agent")
def test_where_the_one_that_was_to_tell_dies_another_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one_voice, "SECONDS", 0.2)
    with pytest.raises(KeyboardInterrupt):
        tell_once("text", die)
    told: list[str] = []
    tell_once("text", lambda: told.append("second"))
    assert told == ["second"]


def test_without_an_agent_every_rank_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    for _ in range(2):
        tell_once("text", lambda: told.append(1))
    with socket.socket() as nobody:  # bound, and it does not listen
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(one_voice, "SECONDS", 0.2)
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(nobody.getsockname()[1]))
        tell_once("text", lambda: told.append(2))
    assert told == [1, 1, 2]


@pytest.mark.long
@pytest.mark.parametrize("json_too", [False, True], ids=["text", "json"])
def test_torchrun_tells_one_error(json_too: bool, tmp_path: Path) -> None:
    found = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
            "-m", "trainer", "run", "--stage", "text_7k", "--model", "tiny",
            "--corpus", str(tmp_path), "--out", str(tmp_path / "out"),
            *(["--json"] if json_too else []),
        ],
        cwd=ROOT, text=True, capture_output=True, timeout=200,
    )  # fmt: skip
    assert found.returncode == 1  # torchrun's own, whatever ranks exit with
    assert "exitcode  : 2" in found.stderr
    if json_too:
        (line,) = found.stdout.splitlines()
        answer = json.loads(line)
        assert not answer["ok"]
        assert "text_7k" in answer["error"]
        assert "error: " not in found.stderr.replace("error_file", "")
    else:
        (line,) = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
        assert "text_7k" in line
        assert found.stdout == ""
