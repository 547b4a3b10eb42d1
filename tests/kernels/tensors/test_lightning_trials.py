"""What a check finds in sweeps with a defect, that it finds none in ours, and its formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
import torch
from triton.errors import TritonError

from kernels.lightning import hopper, portable
from kernels.lightning.pieces import Layout, cut
from kernels.lightning.reference import chunked
from kernels.lightning.sweep import Operands
from kernels.lightning.trials import candidates, inputs, reference, sweep_reference
from kernels.lightning.trials.carry import CARRY, Carry
from kernels.lightning.trials.decode import DECODE, Decode
from kernels.lightning.trials.sweeps import (
    NO_STATE,
    PLAIN,
    PORTABLE,
    TURNED,
    Sweep,
    _portable,
    check,
    portable_candidate,
)
from kernels.sentinel import (
    Kernel,
    Sentinel,
    Verdicts,
)

F32, BF16 = torch.float32, torch.bfloat16
SIMPLE = Sweep(16, 16, F32, F32, False, False, NO_STATE, NO_STATE, False, 8, 1, False, 32)


def wrong_decay(operands: Sequence[Any], slopes: torch.Tensor, *rest: Any, **named: Any) -> None:
    _portable(operands, slopes + 1e-4, *rest, **named)


def one_decay_lost(operands: Sequence[Any], slopes: torch.Tensor, *rest: Any, **named: Any) -> None:
    """The last tile's own state misses one factor, as in vLLM's prefill kernel."""
    _portable(operands, slopes, *rest, **named)
    a, b, c, out, *_ = operands[0]
    edge = a.shape[1] // 32 * 32
    _, before = sweep_reference(a[:, :edge], b[:, :edge], c[:, :edge], slopes, scale=0.7)
    shift = sweep_reference(
        a[:, edge:], torch.zeros_like(b[:, edge:]), c[:, edge:], slopes, scale=0.7, initial=before
    )[0]
    out[:, edge:] += (shift * torch.expm1(slopes)[:, None]).to(out.dtype)


def unwritten_row(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
    out = operands[0][3]
    kept = out[:, -1].clone()
    _portable(operands, *rest, **named)
    out[:, -1] = kept


def leftover_nan(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
    _portable(operands, *rest, **named)
    operands[0][3][0, 5, 0, 3] = torch.nan


def one_wrong_row(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
    _portable(operands, *rest, **named)
    operands[0][3][1, 40] *= 1.01


def row_behind(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
    _portable(operands, *rest, **named)
    out = operands[0][3]
    behind = out.storage_offset() + out.shape[0] * out.stride(0)
    out.as_strided(out.shape[3:], out.stride()[3:], behind).zero_()


def columns_beside(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
    _portable(operands, *rest, **named)
    out = operands[0][3]
    out.as_strided((1,), (1,), out.storage_offset() + out.shape[3]).zero_()


def reads_behind(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
    """The row behind the last, weighted with zero as a mask in the wrong place would."""
    _portable(operands, *rest, **named)
    _, _, c, out, *_ = operands[0]
    behind = c.storage_offset() + c.shape[0] * c.stride(0)
    out[-1, -1, 0] += 0.0 * c.as_strided(c.shape[3:], c.stride()[3:], behind)


def unsteady() -> Callable[..., None]:
    runs = count()

    def launch(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
        _portable(operands, *rest, **named)
        operands[0][3][0, 0] *= 1.0 + 1e-6 * next(runs)

    return launch


def does_not_compile(*_: Any, **__: Any) -> None:
    raise TritonError("PassManager::run failed\nand more")


def crashes(*_: Any, **__: Any) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


DEFECTS = [
    (wrong_decay, "out is off by"),
    (one_decay_lost, "out is off by"),
    (one_wrong_row, "a row of it by"),
    (unwritten_row, "32 elements of out are not written"),
    (leftover_nan, "NaN or Inf in 1 elements"),
    (reads_behind, "NaN or Inf in 16 elements"),
    (row_behind, "16 elements are written outside of out"),
    (columns_beside, "1 elements are written outside of out"),
    (unsteady(), "out differs between two runs in"),
    (does_not_compile, "the launch fails with TritonError: PassManager::run failed"),
    (crashes, "the launch fails with RuntimeError: CUDA error: an illegal memory access"),
]


@pytest.mark.parametrize(("launch", "says"), DEFECTS)
def test_a_defect_is_found(launch: Callable[..., None], says: str, device: torch.device) -> None:
    fault, _ = check(SIMPLE, device, launch=launch, tiles=3)
    assert fault is not None
    assert says in fault
    assert "more" not in fault  # of an error the first line


def test_short_memory_says_nothing_about_a_kernel(device: torch.device) -> None:
    def launch(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        check(SIMPLE, device, launch=launch, tiles=3)


GOOD = [
    SIMPLE._replace(final=True, initial=PLAIN, packed=True),
    SIMPLE._replace(final=True, initial=TURNED, reverse=True),
    SIMPLE._replace(carried=PLAIN, packed=True),
    SIMPLE._replace(carried=TURNED, tokens=16),
    SIMPLE._replace(carried=TURNED, packed=True, reverse=True),
    SIMPLE._replace(initial=PLAIN, carried=PLAIN, packed=True, reverse=True),
    SIMPLE._replace(initial=TURNED, carried=PLAIN, packed=True),
    SIMPLE._replace(initial=PLAIN, carried=TURNED),
    SIMPLE._replace(K=32, tokens=1, tile=16, heads=8, shared=True),
    SIMPLE._replace(V=32, tokens=16, tile=16),
    SIMPLE._replace(dtype=BF16, out=BF16, tile=64, packed=True),
    SIMPLE._replace(dtype=BF16, tile=16, reverse=True, shared=True, heads=8, final=True),
    SIMPLE._replace(dtype=torch.float16, out=torch.float16, tile=32, packed=True),
    SIMPLE._replace(dtype=BF16, out=BF16, tile=64, activated=(True, True, True), packed=True),
    SIMPLE._replace(activated=(False, True, True), through=True, carried=PLAIN),
    SIMPLE._replace(
        activated=(True, False, True), through=True, reverse=True, tile=16, heads=8, shared=True
    ),
]


@pytest.mark.parametrize("lost", ["activated", "preactivation"])
def test_a_sweep_without_its_silu_is_found(lost: str, device: torch.device) -> None:
    def launch(operands: Sequence[Operands], *rest: Any, **named: Any) -> None:
        nothing = Operands._field_defaults[lost]
        _portable([operands[0]._replace(**{lost: nothing})], *rest, **named)

    settings = SIMPLE._replace(activated=(False, True, False), through=True)
    fault, _ = check(settings, device, launch=launch, tiles=3)
    assert fault is not None
    assert "out is off by" in fault


@pytest.mark.parametrize("settings", GOOD)
def test_the_sweep_is_good(settings: Sweep, device: torch.device) -> None:
    fault, worst = PORTABLE.check(settings, device)
    assert fault is None
    assert worst is not None
    assert 0 < worst < 0.5  # well within what is allowed, but no copy of the expected values


def test_a_lone_token_is_judged_whatever_is_drawn(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output is one product of q and k, of which rounding is all where they are orthogonal."""
    settings = SIMPLE._replace(
        K=128, dtype=BF16, out=BF16, tokens=1, heads=16, tile=16, activated=(True, True, True)
    )
    for seed in range(8):
        monkeypatch.setattr(inputs.Draw, "seed", seed)
        fault, worst = PORTABLE.check(settings, device)
        assert fault is None
        assert worst is not None
        assert worst < 0.8


CARRIES = [
    Carry(16, 32, F32, False, True, True, True, 8, 1, False, torch.int64, False),
    Carry(16, 16, F32, True, True, False, False, 16, 1, False, torch.int32, False),
    Carry(32, 16, BF16, False, False, True, False, 8, 1, False, None, False),
    Carry(16, 16, F32, False, False, False, False, 16, 1, False, None, True, (True, True)),
    Carry(16, 16, F32, True, True, False, False, 8, 1, False, torch.int32, False, (True, False)),
]
DECODES = [
    Decode(32, 32, 2, F32, None, None, True, 1, False),
    Decode(32, 16, 2, BF16, torch.int32, torch.int64, False, 1, False),
    Decode(16, 32, 1, torch.float16, torch.int64, None, False, 8, True),
]


@pytest.mark.parametrize(
    ("kernel", "settings"), [*product([CARRY], CARRIES), *product([DECODE], DECODES)]
)
def test_the_others_are_good(kernel: Kernel, settings: Any, device: torch.device) -> None:
    fault, worst = kernel.check(settings, device)
    assert fault is None
    assert worst is not None
    assert 0 < worst < 0.5


def test_a_candidate_is_what_the_call_would_launch(device: torch.device) -> None:
    layout = Layout(2, 130, 4, False)
    x = torch.zeros(2, 130, 4, 32, dtype=BF16, device=device)
    k, out = x[:, :, :2], torch.empty_like(x, dtype=F32)
    states = torch.zeros(4, 4, 32, 32, device=device)
    found = portable_candidate(
        Operands(k, x, x, out, (True, True, False), x),
        cut(layout, 64, None), True, None, states.mT, None,
    )  # fmt: skip
    assert found.kernel is PORTABLE
    assert found.settings == Sweep(
        32, 32, BF16, F32, True, False, NO_STATE, TURNED, False, 8, 8, True, 32,
        (True, True, False), True,
    )  # fmt: skip
    short = portable_candidate(
        Operands(x, x, x, out), cut(layout._replace(tokens=1), 1, None), False, None, None, states
    )
    assert short.settings == Sweep(
        32, 32, BF16, F32, False, False, NO_STATE, NO_STATE, True, 1, 8, False, 16
    )
    assert portable.tiles(32, 32, 2, 1).tokens == 16
    assert "tokens=1" in str(short)
    assert "dtype=bfloat16" in str(short)


def test_the_pair_of_dv_and_dk_is_laid_out_as_the_backward_does(device: torch.device) -> None:
    def launch(operands: Sequence[Any], *rest: Any, **named: Any) -> None:
        (k, q, do, *_), (v, second_do, second_q, *_) = operands
        if silu:
            assert operands[0].preactivation is v
            assert operands[1].preactivation is k
        assert second_do is do
        assert second_q is q
        assert v.shape == k.shape
        states, final = (
            {name: named.pop(name) for name in ("initial", "carried")},
            named.pop("final"),
        )
        turned = {name: None if x is None else x.mT for name, x in states.items()}
        _portable(operands[:1], *rest, **states, final=final, **named)
        _portable(operands[1:], *rest, **turned, final=None, **named)

    silu = False
    for settings in (
        SIMPLE._replace(reverse=True, initial=PLAIN, final=True),
        SIMPLE._replace(reverse=True, carried=PLAIN, packed=True),
        SIMPLE._replace(reverse=True, activated=(True, True, False), through=True),
    ):
        silu = settings.through
        fault, worst = check(settings, device, launch=launch, tiles=3, pair=True)
        assert fault is None
        assert worst is not None
        assert 0 < worst < 0.5


@pytest.mark.parametrize(("packed", "heads"), [(False, 16), (True, 8), (False, 1)])
def test_the_copy_engine_can_address_what_is_checked(
    packed: bool, heads: int, device: torch.device
) -> None:
    seen: list[Any] = []

    def launch(operands: Sequence[Any], *_: Any, **__: Any) -> None:
        seen.extend(operands)

    settings = SIMPLE._replace(
        K=64, V=128, dtype=BF16, out=BF16, tile=64, packed=packed, heads=heads, shared=heads > 1,
        through=True,
    )  # fmt: skip
    check(settings, device, launch=launch, tiles=1)
    assert len(seen) == 1
    assert all(hopper.fits(*operand.tensors) for operand in seen)


@pytest.mark.gpu
def test_every_kernel_is_good_here(tmp_path: Path, device: torch.device) -> None:
    watch = Sentinel(Verdicts(tmp_path / "verdicts.json"))
    here = torch.device("cuda", torch.cuda.current_device())
    for candidate in candidates(here):
        assert watch.approved(candidate, here), watch.verdict(candidate, here)


@pytest.mark.parametrize("silu", [False, True])
def test_four_sweeps_are_attention_and_its_gradients(silu: bool) -> None:
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True)

    q, k, v = normal(2, 13, 4, 5), normal(2, 13, 2, 5), normal(2, 13, 2, 3)
    start, do, d_final = normal(2, 4, 5, 3), normal(2, 13, 4, 3), normal(2, 4, 5, 3)
    slopes = torch.tensor([0.0, 0.02, 0.3, 0.917], dtype=torch.float64)
    activation = "silu" if silu else None
    o, final = chunked(
        q, k, v, slopes, initial_state=start, scale=0.3, chunk=4, activation=activation
    )
    wanted = torch.autograd.grad((o, final), (q, k, v, start), (do, d_final))

    def swept(
        a: torch.Tensor,
        b: torch.Tensor,
        c: torch.Tensor,
        plain: int | None,
        through: torch.Tensor | None,
        **named: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if silu:
            activated = [n != plain for n in range(3)]
            named |= {"activated": activated, "preactivation": through}
        return sweep_reference(a, b, c, slopes, scale=0.3, **named)

    found_o, found_final = swept(q, k, v, initial=start, plain=None, through=None)
    dq, _ = swept(do, v, k, initial=start.mT, plain=0, through=q)
    dv, d_start = swept(k, q, do, initial=d_final, reverse=True, plain=2, through=v)
    dk, _ = swept(v, do, q, initial=d_final.mT, reverse=True, plain=1, through=k)
    dk, dv = (x.view(2, 13, 2, 2, -1).sum(3) for x in (dk, dv))
    for found, exact in zip(
        (found_o, found_final, dq, dk, dv, d_start), (o, final, *wanted), strict=True
    ):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundaries", [[0, 9], [0, 0, 4, 4, 8, 9], [0, 8, 9, 9], [0, 0]])
@pytest.mark.parametrize("segment", [4, 9])
def test_pieces_are_cut_as_on_the_device(
    boundaries: list[int], segment: int, device: torch.device
) -> None:
    cu = torch.tensor(boundaries, dtype=torch.int32, device=device)
    found = cut(Layout(len(cu) - 1, boundaries[-1], 1, True), segment, cu)
    assert found.table is not None
    host = reference.parts(boundaries[-1], segment, boundaries=boundaries)
    assert found.table[:, :3].tolist() == [[x.sequence, x.start, x.stop] for x in host]
    assert [x.number for x in host] == [*range(found.count)]


@pytest.mark.parametrize("reverse", [False, True])
def test_pieces_hand_their_state_on(reverse: bool, device: torch.device) -> None:
    draw, slopes = inputs.Draw(device), inputs.slopes(8, device)
    a, b, c, start = draw(2, 11, 8, 4), draw(2, 11, 4, 4), draw(2, 11, 8, 3), draw(2, 8, 4, 3)
    common: dict[str, Any] = {"reverse": reverse, "scale": 0.5, "initial": start}
    out, final = sweep_reference(a, b, c, slopes, **common)
    walked = reference.walk(a, b, c, slopes, reference.parts(11, 4, rows=2), **common)
    torch.testing.assert_close(walked.out, out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(walked.final, final, rtol=1e-12, atol=1e-12)
    assert walked.carried.shape == (4, 8, 4, 3)
    # At the second row's first cut, of its 11 tokens with 4 to the left.
    to, row = slice(4, None) if reverse else slice(4), slice(1, 2)
    _, state = sweep_reference(
        a[row, to], b[row, to], c[row, to], slopes, **common | {"initial": start[row]}
    )
    torch.testing.assert_close(walked.carried[2], state[0], rtol=1e-12, atol=1e-12)
