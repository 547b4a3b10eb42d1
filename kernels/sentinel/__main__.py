"""``python -m kernels.sentinel``: check every kernel on this machine's GPU and print the verdicts.

Exit code 0 when all are good, 1 when one is refused, 2 when there is no GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch

from kernels.sentinel.choice import Candidate, Sentinel
from kernels.sentinel.environment import environment
from kernels.sentinel.verdicts import Verdict, Verdicts, default_path

CHECKED = ("kernels.lightning.trials",)
"""Modules with ``candidates(device)``, what to check. A new operator is one line here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, and say by the exit code how it went."""
    parser = argparse.ArgumentParser(prog="python -m kernels.sentinel", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    parser.add_argument("--fresh", action="store_true", help="check again what is on file")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("found no CUDA GPU; kernels are checked where they run", file=sys.stderr)
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    path = default_path()
    sentinel = Sentinel(Verdicts(path), fresh=options.fresh)
    verdicts: dict[Candidate, Verdict] = {}
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in environment(device).items()))
    for name in CHECKED:
        for candidate in importlib.import_module(name).candidates(device):
            sentinel.approved(candidate, device)
            verdict = sentinel.verdict(candidate, device)
            if verdict is None:
                print("LEYDEN_SENTINEL is off: nothing was checked", file=sys.stderr)
                return 2
            verdicts[candidate] = verdict
            if not options.json:
                print(line(candidate, verdict), flush=True)
    refused = sum(not x.good for x in verdicts.values())
    if options.json:
        rows = [{"kernel": str(x), **asdict(verdict)} for x, verdict in verdicts.items()]
        print(json.dumps({"environment": environment(device), "verdicts": rows}, indent=1))
    else:
        print(f"{len(verdicts)} configurations, {refused} refused; verdicts in {path}")
    return int(refused > 0)


def line(candidate: Candidate, verdict: Verdict) -> str:
    """A row of the table: verdict, error as a share of what is allowed, seconds, configuration."""
    error = "" if verdict.worst is None else f"{verdict.worst:.0%}"
    row = f"{'good' if verdict.good else 'BAD':<5}{error:>6}{verdict.seconds:>7.2f} s  {candidate}"
    return row if verdict.good else f"{row}\n      {verdict.found}"


if __name__ == "__main__":
    sys.exit(main())
