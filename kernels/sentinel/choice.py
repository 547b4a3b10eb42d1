"""Which kernel to launch: the first, in order of preference, that was seen to be right here."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from kernels.sentinel import guards
from kernels.sentinel.environment import environment, sources_digest
from kernels.sentinel.guards import Finding
from kernels.sentinel.verdicts import Verdict, Verdicts, default_path

SWITCH = "LEYDEN_SENTINEL"


class KernelRefusedWarning(RuntimeWarning):
    """A kernel gave wrong results on this machine and is not used."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel and how to check it.

    ``check(settings, device)`` launches the kernel as ``settings`` say, on a small input of its
    own, and says what it found. ``sources``: the files that make the compiled code, and the check.
    """

    name: str
    check: Callable[[Any, torch.device], Finding]
    sources: tuple[str, ...]


class Candidate(NamedTuple):
    """A kernel in one configuration.

    ``settings``: a named tuple of everything that a launch's compiled code depends on.
    """

    kernel: Kernel
    settings: Hashable

    def __str__(self) -> str:
        fields: dict[str, object] = getattr(self.settings, "_asdict", dict)()
        told = ", ".join(f"{name}={_short(value)}" for name, value in fields.items())
        return f"{self.kernel.name}({told or self.settings})"


def _short(value: object) -> str:
    return str(value).removeprefix("torch.")


def capturing(device: torch.device) -> str | None:
    """Why no kernel can be launched and waited for just now, if so."""
    if torch.compiler.is_compiling():
        return "torch.compile is tracing"
    if device.type == "cuda":
        with torch.cuda.device(device):
            if torch.cuda.is_current_stream_capturing():
                return "a CUDA graph is being captured"
    return None


class Sentinel:
    """Answers for one process; the answers of others come from ``verdicts``.

    Args:
        verdicts: where verdicts are kept; the user's cache folder when left out.
        surroundings: names and versions that a verdict on a device depends on.
        everywhere: check on the CPU too, where by default everything is approved.
        fresh: check again what is on file.
        busy: why a check cannot run now, or None.
    """

    def __init__(
        self,
        verdicts: Verdicts | None = None,
        *,
        surroundings: Callable[[torch.device], Mapping[str, str]] = environment,
        everywhere: bool = False,
        fresh: bool = False,
        busy: Callable[[torch.device], str | None] = capturing,
    ) -> None:
        self._verdicts = Verdicts(default_path()) if verdicts is None else verdicts
        self._surroundings, self._busy = surroundings, busy
        self._everywhere, self._fresh = everywhere, fresh
        self._known: dict[tuple[Candidate, torch.device], bool] = {}
        self._found: dict[tuple[Candidate, torch.device], Verdict] = {}
        self._warned: set[Candidate] = set()
        self._in_check: set[tuple[Candidate, torch.device]] = set()
        self._lock = threading.RLock()

    def approved(self, candidate: Candidate, device: torch.device) -> bool:
        """Whether ``candidate`` may be launched on ``device``; checked at the first time of asking.

        Raises:
            RuntimeError: it was never checked, and just now cannot be (a CUDA graph is captured).
            ValueError: ``LEYDEN_SENTINEL`` is neither ``on`` nor ``off``.
        """
        known = self._known.get((candidate, device))
        return self._settle(candidate, device) if known is None else known

    def choose(
        self, plans: Iterable[tuple[Candidate, ...]], device: torch.device
    ) -> tuple[Candidate, ...]:
        """The first of ``plans`` of which every candidate is approved.

        A plan is what one call launches. ``plans`` may be a generator: those behind the chosen one
        are not asked for. What was refused on the way is told once per process, as a
        :class:`KernelRefusedWarning`.

        Raises:
            RuntimeError: all plans hold a candidate that is refused; or as :meth:`approved`.
        """
        refused: list[Candidate] = []
        chosen: tuple[Candidate, ...] | None = None
        try:
            for plan in plans:
                bad = [x for x in plan if not self.approved(x, device)]
                if not bad:
                    chosen = plan
                    return plan
                refused += bad
        finally:
            # Also when the next check ends in an error, as after an illegal access by the last one.
            if refused and not self._warned.issuperset(refused):
                self._warn(refused, chosen, device)
        told = "; ".join(f"{x}: {self._found[x, device].found}" for x in refused)
        raise RuntimeError(
            f"found no kernel that gives right results on {self._machine(device)}; refused: "
            f"{told}. Another version of Triton or of the driver may compile them right; please "
            "report this with the output of `python -m kernels.sentinel --json --fresh`"
        )

    def verdict(self, candidate: Candidate, device: torch.device) -> Verdict | None:
        """What is known to this process about ``candidate``; None when nothing was asked."""
        return self._found.get((candidate, device))

    def _settle(self, candidate: Candidate, device: torch.device) -> bool:
        switch = os.environ.get(SWITCH, "on").lower()
        if switch not in ("on", "off", ""):
            raise ValueError(f"found {SWITCH}={switch}, expected on or off")
        place = candidate, device
        if switch == "off" or (device.type != "cuda" and not self._everywhere):
            self._known[place] = True
            return True
        with self._lock:
            if place in self._known:  # by another thread, while this one waited
                return self._known[place]
            if place in self._in_check:  # the check itself launches it, through the public way in
                return True
            identity = {
                "kernel": str(candidate),
                "sources": sources_digest((*candidate.kernel.sources, str(guards.__file__))),
                **self._surroundings(device),
            }
            verdict = None if self._fresh else self._verdicts.get(identity)
            if verdict is None:
                reason = self._busy(device)
                if reason is not None:
                    raise RuntimeError(
                        f"found {candidate} unchecked on {self._machine(device)} while {reason}, "
                        "when it cannot be checked; run the function once before (a warm-up), or "
                        f"set {SWITCH}=off to trust every kernel"
                    )
                self._in_check.add(place)
                try:
                    verdict = _check(candidate, device)
                finally:
                    self._in_check.remove(place)
                self._verdicts.put(identity, verdict)
            self._found[place] = verdict
            self._known[place] = verdict.good
            return verdict.good

    def _machine(self, device: torch.device) -> str:
        about = dict(self._surroundings(device))
        gpu = about.pop("gpu", str(device))
        return f"{gpu} ({', '.join(f'{name} {value}' for name, value in about.items())})"

    def _warn(
        self,
        refused: list[Candidate],
        chosen: tuple[Candidate, ...] | None,
        device: torch.device,
    ) -> None:
        instead = "nothing could be put in its place"
        if chosen is not None:
            names = dict.fromkeys(map(str, chosen))
            instead = f"{' and '.join(names)} takes its place, which may be slower"
        for candidate in refused:
            if candidate in self._warned:
                continue
            self._warned.add(candidate)
            warnings.warn(
                f"refused {candidate} on {self._machine(device)}: "
                f"{self._found[candidate, device].found}; {instead}. Please report this with the "
                "output of `python -m kernels.sentinel --json --fresh`",
                KernelRefusedWarning,
                stacklevel=3,
            )


def _check(candidate: Candidate, device: torch.device) -> Verdict:
    started = time.perf_counter()
    on_gpu = device.type == "cuda"
    with torch.no_grad(), torch.cuda.device(device) if on_gpu else contextlib.nullcontext():
        if on_gpu:
            torch.cuda.synchronize(device)  # an earlier kernel's error is not this one's
        fault, worst = candidate.kernel.check(candidate.settings, device)
    seconds = round(time.perf_counter() - started, 3)
    return Verdict(fault is None, fault or "", worst, seconds)


_PROCESS = Sentinel()
approved = _PROCESS.approved
choose = _PROCESS.choose
