"""A fake worker: obeys as ``python -m trainer worker`` does, and trains nothing.

For tests of the pool, of going on and of failures alone. What a run does is said by its mixture's
file: ``description: nan|climb|die|die_once|hang|refuse|slow``. Its losses are a formula,
not a measurement.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml

STEPS = 20


def main() -> None:
    """Obey until standard input is closed."""
    tell({"ready": os.getpid(), "device": "cpu"})
    orders: list[dict[str, Any] | None] = []
    there = threading.Condition()

    def listen() -> None:
        for line in sys.stdin:
            with there:
                orders.append(json.loads(line))
                there.notify()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        with there:
            while not orders:
                there.wait()
            order = orders.pop(0)
        assert order is not None
        began = time.monotonic()
        answer, code = obey(order["argv"])
        with Path(order["stdout"]).open("a") as file:
            file.write(json.dumps(answer) + "\n")
        Path(order["stderr"]).touch()
        seconds = time.monotonic() - began
        tell({"id": order["id"], "code": code, "seconds": seconds, "crashed": False})


def tell(answer: dict[str, Any]) -> None:
    """Answer a line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def obey(argv: list[str]) -> tuple[dict[str, Any], int]:
    """A command's answer and exit code."""
    command, *rest = argv
    if command == "evaluate":
        return evaluate(Path(rest[0]), rest), 0
    given = {name.removeprefix("--"): value for name, value in itertools.pairwise(rest)}
    return train(given)


def train(given: dict[str, str]) -> tuple[dict[str, Any], int]:
    """Write metrics, a line a step, from where the folder has them."""
    out, seed, tokens = Path(given["out"]), int(given["seed"]), int(given["tokens"])
    act = yaml.safe_load(Path(given["mixture"]).read_text()).get("description")
    out.mkdir(parents=True, exist_ok=True)
    (out / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    with (out / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    starts = len((out / "starts").read_text().splitlines())
    if act == "refuse":
        return {"ok": False, "error": "the corpus has too little of it"}, 1
    metrics = out / "metrics.jsonl"
    if act in ("die", "hang"):
        metrics.unlink(missing_ok=True)
    done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    for step in range(done + 1, STEPS + 1):
        loss: float | None = 5.0 - step / 10 + seed / 100
        if act == "climb" and step > 5:
            loss = 9.0
        line: dict[str, Any] = {"step": step, "tokens": tokens * step // STEPS, "grad_norm": 1.0}
        if act == "nan" and step == 7:
            loss, line["not_finite"] = None, {"loss": "nan"}
        with metrics.open("a") as file:
            file.write(json.dumps({**line, "loss": loss}) + "\n")
        if act == "die" or (act == "die_once" and starts == 1 and step == 10):
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "hang" and step == 3:
            time.sleep(600)
        slow = act == "slow" or (act in ("nan", "climb") and step > 5)
        time.sleep(0.3 if slow else 0.001)
    (out / "checkpoints" / f"step-{STEPS:08d}").mkdir(parents=True, exist_ok=True)
    return {"ok": True, "state": "finished", "step": STEPS, "tokens": tokens, "why": ""}, 0


def evaluate(folder: Path, argv: list[str]) -> dict[str, Any]:
    """Numbers that follow from the last loss."""
    with (folder / "evaluated").open("a") as file:
        file.write(" ".join(argv) + "\n")
    loss = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["loss"]

    def group(name: str, tokens: int, bits: float) -> dict[str, Any]:
        return {
            "name": name,
            "tokens": tokens,
            "loss": {"value": loss},
            "bits_per_byte": {"value": bits},
        }

    sources = [group("prose", 100, loss / 2), group("noise", 300, loss)]
    return {"ok": True, "loss": {"all": group("all", 400, loss), "sources": sources}}


if __name__ == "__main__":
    main()
