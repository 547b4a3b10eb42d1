"""A kernel that is wrong is refused, the next one taken, and the verdict remembered."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.lightning.trials.sweeps import (
    HOPPER,
    NO_STATE,
    PORTABLE,
    Sweep,
    _portable,
    check,
)
from kernels.sentinel import (
    Candidate,
    Finding,
    Guarded,
    Kernel,
    KernelRefusedWarning,
    Output,
    Sentinel,
    Verdict,
    Verdicts,
    judge,
    surrounded,
)
from kernels.sentinel.__main__ import line, main
from kernels.sentinel.environment import environment
from kernels.sentinel.verdicts import default_path

F32, BF16 = torch.float32, torch.bfloat16
PLAIN = Sweep(16, 16, F32, F32, False, False, NO_STATE, NO_STATE, False, 8, 1, False, 32)
HERE = {"gpu": "a GPU", "driver": "1.0", "triton": "3.7.0"}


class Counted:
    """A kernel whose checks are counted."""

    def __init__(
        self,
        name: str,
        fault: str | None = None,
        sources: tuple[str, ...] = (__file__,),
    ) -> None:
        self.checks = 0
        self.fault = fault
        self.candidate = Candidate(Kernel(name, self._check, sources), PLAIN)

    def _check(self, *_: Any) -> Finding:
        self.checks += 1
        return Finding(self.fault, 0.5)


def sentinel(path: Path | None, here: dict[str, str] | None = None, **more: Any) -> Sentinel:
    found = HERE if here is None else here
    return Sentinel(Verdicts(path), surroundings=lambda _: found, everywhere=True, **more)


def wrong_decay(operands: Sequence[Any], slopes: torch.Tensor, *rest: Any, **named: Any) -> None:
    _portable(operands, slopes + 1e-4, *rest, **named)


# -- which kernel is taken -------------------------------------------------------------------------


def test_a_broken_kernel_is_refused_and_the_next_taken(
    tmp_path: Path, device: torch.device
) -> None:
    broken = Kernel("broken", partial(check, launch=wrong_decay, tiles=3), (__file__,))
    plans = [(Candidate(broken, PLAIN),), (Candidate(PORTABLE, PLAIN),)]
    watch = sentinel(tmp_path / "verdicts.json")
    with pytest.warns(KernelRefusedWarning) as told:
        assert watch.choose(plans, device) == plans[1]
    (warning,) = told
    text = str(warning.message)
    assert text.startswith("refused broken(K=16, V=16, dtype=float32,")
    assert "on a GPU (driver 1.0, triton 3.7.0): out is off by" in text
    assert "; lightning.portable(" in text
    assert "takes its place" in text
    assert "report" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert watch.choose(plans, device) == plans[1]  # said once
    # Another process is told too, without a check.
    again = sentinel(tmp_path / "verdicts.json", busy=lambda _: "nothing may be checked")
    with pytest.warns(KernelRefusedWarning, match="out is off by"):
        assert again.choose(plans, device) == plans[1]


def test_a_plan_needs_all_its_kernels_and_later_plans_are_not_made(device: torch.device) -> None:
    good, bad, other = Counted("good"), Counted("bad", "it is wrong"), Counted("other")

    def plans() -> Iterator[tuple[Candidate, ...]]:
        yield (good.candidate, bad.candidate)
        yield (good.candidate, other.candidate)
        raise AssertionError("asked for a plan that is not needed")

    watch = sentinel(None)
    with pytest.warns(KernelRefusedWarning, match=r"good\(.*\) and other\(.*\) takes its place"):
        assert watch.choose(plans(), device) == (good.candidate, other.candidate)
    assert [x.checks for x in (good, bad, other)] == [1, 1, 1]


def test_nothing_left_is_an_error_that_names_all(device: torch.device) -> None:
    some = [Counted("first", "off by 3"), Counted("second", "writes outside")]
    watch = sentinel(None)
    for _ in range(2):  # and goes on to be one
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KernelRefusedWarning)
            with pytest.raises(RuntimeError, match=r"first.*off by 3.*second.*writes outside"):
                watch.choose([(x.candidate,) for x in some], device)


def test_a_refusal_is_told_and_kept_when_the_next_check_ends_in_an_error(
    tmp_path: Path, device: torch.device
) -> None:
    """An illegal access is found in one kernel, and leaves no GPU to check the next one on."""

    def lost(*_: Any) -> Finding:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    bad, after = Counted("bad", "the launch fails"), Candidate(Kernel("after", lost, ()), PLAIN)
    path = tmp_path / "verdicts.json"
    with (
        pytest.warns(KernelRefusedWarning, match="nothing could be put in its place"),
        pytest.raises(RuntimeError, match="illegal memory access"),
    ):
        sentinel(path).choose([(bad.candidate,), (after,)], device)
    assert not sentinel(path).approved(bad.candidate, device)
    assert bad.checks == 1


def test_a_check_may_launch_through_the_public_way_in(device: torch.device) -> None:
    watch = sentinel(None)

    def run(*_: Any) -> Finding:
        return Finding(None if watch.approved(own, device) else "asked for itself")

    own = Candidate(Kernel("own", run, ()), PLAIN)
    assert watch.approved(own, device)


# -- what is remembered ----------------------------------------------------------------------------


def test_a_verdict_is_kept_until_something_changes(tmp_path: Path, device: torch.device) -> None:
    path, source = tmp_path / "verdicts.json", tmp_path / "kernel.py"
    source.write_text("one")
    tried = Counted("tried", sources=(str(source),))
    watch = sentinel(path)
    assert watch.approved(tried.candidate, device)
    assert watch.approved(tried.candidate, device)
    assert sentinel(path).approved(tried.candidate, device)
    assert tried.checks == 1
    for name in HERE:
        changed = sentinel(path, {**HERE, name: "another"})
        assert changed.approved(tried.candidate, device)
    assert tried.checks == 1 + len(HERE)
    other = Counted("tried", sources=(str(source), str(source)))
    assert sentinel(path).approved(other.candidate, device)
    settings = tried.candidate._replace(settings=PLAIN._replace(K=32))
    assert sentinel(path).approved(settings, device)
    assert tried.checks == 2 + len(HERE)
    assert other.checks == 1
    entries = json.loads(path.read_text())["verdicts"].values()
    assert len(entries) == 3 + len(HERE)
    assert {"kernel", "sources", "good", "found", "worst", "seconds", *HERE} == set(
        next(iter(entries))
    )


def test_a_fresh_sentinel_checks_again_and_replaces(tmp_path: Path, device: torch.device) -> None:
    path, tried = tmp_path / "verdicts.json", Counted("tried", "wrong at that time")
    assert not sentinel(path).approved(tried.candidate, device)
    tried.fault = None
    assert not sentinel(path).approved(tried.candidate, device)
    assert sentinel(path, fresh=True).approved(tried.candidate, device)
    assert sentinel(path).approved(tried.candidate, device)
    assert tried.checks == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b'{"format": 1, "verdicts": {',
        b"[" * 100_000,
        b"[1, 2]",
        b'{"format": 99, "verdicts": {}}',
        b'{"format": 1, "verdicts": [3]}',
        None,
    ],
)
def test_a_corrupt_file_is_survived(
    content: bytes | None, tmp_path: Path, device: torch.device
) -> None:
    path, tried = tmp_path / "verdicts.json", Counted("tried")
    if content is None:  # the entry itself is of a wrong kind
        assert sentinel(path).approved(tried.candidate, device)
        path.write_text(path.read_text().replace('"good": true', '"good": "yes"'))
        tried.checks = 0
    else:
        path.write_bytes(content)
    assert sentinel(path).approved(tried.candidate, device)
    assert sentinel(path).approved(tried.candidate, device)
    assert tried.checks == 1
    assert [x.name for x in tmp_path.iterdir() if x.suffix not in (".json", ".lock")] == []


def test_a_folder_that_cannot_be_written_costs_checks_only(
    tmp_path: Path, device: torch.device
) -> None:
    (tmp_path / "folder").write_text("a file where the folder should be")
    watch = sentinel(tmp_path / "folder" / "verdicts.json")
    first, second = Counted("first"), Counted("second", "off")
    with pytest.warns(UserWarning, match=r"cannot be kept in .*set XDG_CACHE_HOME"):
        assert watch.approved(first.candidate, device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert not watch.approved(second.candidate, device)
        assert watch.approved(first.candidate, device)
    assert first.checks == second.checks == 1


def test_processes_do_not_lose_each_others_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "verdicts.json"

    def write(writer: int) -> None:
        verdicts = Verdicts(path)  # with a lock of its own, as a process would have
        for n in range(8):
            verdicts.put({"writer": str(writer), "n": str(n)}, Verdict(True, seconds=n))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [
        Verdicts(path).get({"writer": str(w), "n": str(n)}) for w in range(4) for n in range(8)
    ]
    assert [x.seconds for x in found if x is not None] == [*range(8)] * 4


def test_where_verdicts_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "leyden" / "kernel-verdicts.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".cache" / "leyden" / "kernel-verdicts.json"


# -- when nothing is checked -----------------------------------------------------------------------


def test_during_capture_only_known_verdicts_are_used(tmp_path: Path, device: torch.device) -> None:
    path, tried = tmp_path / "verdicts.json", Counted("tried")
    busy = sentinel(path, busy=lambda _: "a CUDA graph is being captured")
    with pytest.raises(RuntimeError, match=r"tried\(.*graph is being captured.*warm-up"):
        busy.approved(tried.candidate, device)
    assert tried.checks == 0
    assert sentinel(path).approved(tried.candidate, device)  # a process that warmed up
    assert busy.approved(tried.candidate, device)
    assert tried.checks == 1


def test_nothing_is_checked_while_torch_compile_traces(device: torch.device) -> None:
    tried = Counted("tried")
    watch = sentinel(None)
    graph = torch.export.export(Asks(watch, tried.candidate), (torch.ones(2),), strict=False)
    assert tried.checks == 0
    assert graph.module()(torch.ones(2)).tolist() == [2.0, 2.0]


class Asks(torch.nn.Module):
    """Asks the sentinel while it is traced, and doubles its input when told not to ask now."""

    def __init__(self, watch: Sentinel, candidate: Candidate) -> None:
        super().__init__()
        self._ask = partial(watch.approved, candidate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            self._ask(x.device)
        except RuntimeError as error:
            assert "torch.compile is tracing" in str(error)  # noqa: PT017
            return x * 2
        return x


def test_the_cpu_and_the_switch(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    tried = Counted("tried", "wrong")
    assert Sentinel(Verdicts(None)).approved(tried.candidate, torch.device("cpu"))
    monkeypatch.setenv("LEYDEN_SENTINEL", "off")
    assert sentinel(None).approved(tried.candidate, device)
    assert tried.checks == 0
    monkeypatch.setenv("LEYDEN_SENTINEL", "on")
    assert not sentinel(None).approved(tried.candidate, device)
    monkeypatch.setenv("LEYDEN_SENTINEL", "maybe")
    with pytest.raises(ValueError, match="found LEYDEN_SENTINEL=maybe, expected on or off"):
        sentinel(None).approved(tried.candidate, device)


def test_threads_check_once(device: torch.device) -> None:
    tried, watch = Counted("tried"), sentinel(None)
    threads = [
        threading.Thread(target=watch.approved, args=(tried.candidate, device)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tried.checks == 1


# -- the tools -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [BF16, torch.float16, F32, torch.float64])
@pytest.mark.parametrize("gap", [0, 16])
def test_guards(dtype: torch.dtype, gap: int, device: torch.device) -> None:
    place = Guarded((2, 3, 4), dtype, device, gap)
    assert place.view.isnan().all()
    assert place.unwritten() == 24
    assert place.trespasses() == 0
    place.view.zero_()
    assert place.unwritten() == place.trespasses() == 0
    for offset in (-1, 2 * 3 * (4 + gap)):  # right before and right behind
        at = place.view.storage_offset() + offset
        place.view.as_strided((1,), (1,), at).fill_(torch.nan)
        assert place.trespasses() == 1
        place.poison()
    assert surrounded(torch.ones(2, 3, 4, device=device), gap).sum() == 24


def test_judge_prepares_what_is_also_read(device: torch.device) -> None:
    place = Guarded((2, 3, 4), F32, device)
    ones = torch.ones(2, 3, 4, dtype=torch.float64, device=device)
    output = Output("x", place, 3 * ones, 1e-6, 0)

    def prepare() -> None:
        place.view.copy_(ones)

    def launch() -> None:
        place.view.mul_(3)

    assert judge(launch, [output], prepare) == Finding(None, 0.0)
    fault, _ = judge(launch, [output])
    assert fault is not None


def test_the_environment_names_what_a_verdict_depends_on(device: torch.device) -> None:
    here = torch.zeros(1, device=device).device
    found = environment(here)
    assert found.keys() == {"gpu", "capability", "driver", "ptxas", "torch", "triton"}
    assert all(found.values())
    assert found["torch"] == torch.__version__


@pytest.mark.skipif(torch.cuda.is_available(), reason="says that there is no GPU")
def test_the_command_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "found no CUDA GPU" in capsys.readouterr().err


def test_the_command_prints_a_row_each() -> None:
    good = line(Candidate(HOPPER, PLAIN), Verdict(True, "", 0.25, 1.5))
    assert good.split()[:4] == ["good", "25%", "1.50", "s"]
    bad = line(Candidate(HOPPER, PLAIN), Verdict(False, "out is off by 3", 400.0, 0.1))
    assert bad.startswith("BAD")
    assert bad.endswith("out is off by 3")
