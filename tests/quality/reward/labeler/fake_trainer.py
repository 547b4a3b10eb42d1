"""Stands in for ``python -m trainer likelihood``: a token a character, likelihoods by a rule.

A continuation `` 4`` is the likelier, the more often the digit stands in the document; contexts
longer than ``--longest`` are refused. The rule of a name is its first letter's frequency.
``--step 13`` fails; ``--step 14`` is killed after five answers; ``--step 15`` never ends.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import time
from pathlib import Path

from blake3 import blake3


def likelihood(context: str, continuation: str) -> float:
    """What the rule says, in nats."""
    inside = "".join(re.findall(r" begins: [^\n]*\n(.*?)\n\[", context, re.DOTALL))
    prior = -1.0 - ord(continuation[1]) % 5
    return prior + 0.5 * inside.count(continuation[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["likelihood"])
    parser.add_argument("checkpoint")
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--longest", type=int, default=10_000)
    parser.add_argument("--step", type=int, default=7)
    parser.add_argument("--json", action="store_true", required=True)
    options = parser.parse_args()
    if options.step == 13:
        print(json.dumps({"ok": False, "error": "runs/none: found neither checkpoints/ nor more"}))
        raise SystemExit(1)
    if options.step == 15:
        options.out.with_name("pid").write_text(str(os.getpid()))
        time.sleep(600)
    weights = blake3(options.checkpoint.encode()).hexdigest(length=16)
    model = {"name": "fake", "step": 7, "stage": "text_8k", "weights": weights}
    model |= {"tokenizer": "0", "longest": options.longest}
    answered = set()
    if options.out.exists():
        whole = options.out.read_text().split("\n")[:-1]
        options.out.write_text("".join(line + "\n" for line in whole))
        answered = {json.loads(line)["id"] for line in whole[1:]}
    with options.out.open("a") as out:
        if out.tell() == 0:
            out.write(json.dumps({"model": model}) + "\n")
        for number, line in enumerate(options.requests.read_text().splitlines()):
            row = json.loads(line)
            if row["id"] in answered:
                continue
            if options.step == 14 and number == 5:
                out.write('{"id": "half')
                out.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            answer = {"id": row["id"], "request": "0", "tokens": len(row["context"])}
            if len(row["context"]) > options.longest:
                answer["refused"] = f"found {len(row['context'])} tokens"
            else:
                logs = [likelihood(row["context"], c) for c in row["continuations"]]
                answer["log_probabilities"] = logs
            out.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
