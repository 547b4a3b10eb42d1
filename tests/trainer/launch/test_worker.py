"""One warm process obeys many commands, and none of them shows in the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trainer.run.small_runs import MODEL, stage

ROOT = Path(__file__).resolve().parents[3]
TIMED = (
    "tokens_per_second", "tokens_per_second_per_device", "document_tokens_per_second", "seconds",
    "wait_seconds", "memory_bytes", "mfu", "matmul_efficiency", "tflops_per_device",
)  # fmt: skip


class Client:
    """A worker, asked one thing after another."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trainer", "worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT,
        )  # fmt: skip
        assert self._answer("ready")["device"] in ("cpu", "cuda")

    def send(self, *argv: str) -> None:
        self._number += 1
        out, err = (str(self._folder / f"{self._number}.{name}") for name in ("out", "err"))
        order = {"id": self._number, "argv": argv, "stdout": out, "stderr": err}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self.send(*argv)
        answer = self._answer("id")
        assert answer["id"] == self._number
        out, err = (self._folder / f"{self._number}.{name}" for name in ("out", "err"))
        return answer["code"], out.read_text(), err.read_text()

    def _answer(self, key: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found: dict[str, Any] = json.loads(line)
            if key in found:
                return found
        raise AssertionError("the worker is gone")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    found = Client(tmp_path)
    yield found
    found.process.kill()
    found.process.wait()


def _argv(tmp_path: Path, corpus: Path, out: str, *more: str) -> list[str]:
    """A run of ten small steps."""
    recipes = {"two-layers": MODEL, "first": stage()}
    for name, recipe in recipes.items():
        content = recipe.model_dump(mode="json", exclude_unset=True, exclude={"stages"})
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return [
        "run", "--stage", str(tmp_path / "first.yaml"), "--model",
        str(tmp_path / "two-layers.yaml"), "--corpus", str(corpus), "--out", str(tmp_path / out),
        "--json", "--precision", "fp32", *more,
    ]  # fmt: skip


def _lasting(folder: Path) -> list[dict[str, Any]]:
    """The lines of its metrics but for what the clock and the process's memory say."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in TIMED} for line in lines]


@pytest.mark.long
def test_a_run_is_the_same_first_again_after_others_and_in_a_process_of_its_own(
    tmp_path: Path, built_run: Path, client: Client
) -> None:
    argv = [sys.executable, "-m", "trainer", *_argv(tmp_path, built_run, "own")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(argv, check=True, cwd=ROOT, env=environment, capture_output=True)
    own = _lasting(tmp_path / "own")
    assert len(own) == 10
    assert client.call(*_argv(tmp_path, built_run, "first"))[0] == 0
    assert client.call(*_argv(tmp_path, built_run, "again"))[0] == 0
    assert _lasting(tmp_path / "first") == own
    assert _lasting(tmp_path / "again") == own
    code, _, _ = client.call(*_argv(tmp_path, built_run, "x", "--seed", "5", "--deterministic"))
    assert code == 0
    assert _lasting(tmp_path / "x") != own
    # Refused, wrong, and asked for help: what these leave behind must not show either.
    code, out, _ = client.call(*_argv(tmp_path, built_run, "x"))
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert client.call("run", "--stage")[0] == 2
    code, out, _ = client.call("--help")
    assert code == 0
    assert "worker" in out
    corpus = ("--corpus", str(built_run), "--tokens", "2Ki")
    code, out, err = client.call("evaluate", str(tmp_path / "x"), *corpus, "--json")
    assert code == 0, err
    assert json.loads(out)["loss"]["all"]["tokens"] > 0
    assert client.call(*_argv(tmp_path, built_run, "last"))[0] == 0
    assert _lasting(tmp_path / "last") == own


@pytest.mark.long
def test_a_worker_whose_study_is_gone_saves_and_ends(
    tmp_path: Path, built_run: Path, client: Client
) -> None:
    client.send(*_argv(tmp_path, built_run, "run", "--tokens", "10M", "--epochs", "30000"))
    metrics = tmp_path / "run" / "metrics.jsonl"
    for _ in range(600):
        if metrics.exists() and metrics.read_bytes().count(b"\n") > 2:
            break
        try:
            client.process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(60) == 0
    assert list((tmp_path / "run" / "checkpoints").glob("step-*/complete.json"))


@pytest.mark.long
def test_an_idle_worker_ends_by_sigterm_and_minds_no_terminals_interruption(client: Client) -> None:
    client.process.send_signal(signal.SIGINT)
    assert client.call("--help")[0] == 0
    client.process.send_signal(signal.SIGTERM)
    assert client.process.wait(30) == -signal.SIGTERM
