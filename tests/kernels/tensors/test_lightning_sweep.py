"""The sweep against its formula, and the form for Hopper against the portable one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise, product
from typing import Any

import pytest
import torch

from kernels import sentinel
from kernels.lightning import hopper, portable
from kernels.lightning import sweep as module
from kernels.lightning.checks import HEAD_SIZES
from kernels.lightning.pieces import Layout, cut
from kernels.lightning.reference import chunked, per_query_head
from kernels.lightning.slopes import alibi_slopes
from kernels.lightning.sweep import Operands, sweep
from kernels.lightning.trials.sweeps import GRADIENTS, HOPPER, PORTABLE
from kernels.sentinel import Kernel
from tests.kernels.tensors.attention_cases import (
    DEVICE,
    DTYPES,
    case,
    cut_every,
    exact,
    near,
    outcome,
)
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms


def formula(
    x: Operands, slopes: torch.Tensor, initial: torch.Tensor, reverse: bool, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """``out`` and ``final`` of one sequence, as matrices with a mask, float64."""
    a, b, c = (
        torch.nn.functional.silu(y) if silu else y
        for y, silu in zip(
            (per_query_head(y, x.out).double()[0].transpose(0, 1) for y in x[:3]),
            x.activated,
            strict=True,
        )
    )
    T = a.shape[1]
    i = torch.arange(T, device=a.device, dtype=torch.float64)
    s = slopes.double()[:, None]
    distance = (i - i[:, None] if reverse else i[:, None] - i)[None]
    mask = torch.exp(-s[..., None] * distance.clamp(min=0)) * (distance >= 0)
    left = (T - 1 - i) if reverse else (i + 1)
    given = torch.exp(-s * left)[..., None] * (a @ initial.double())
    out = scale * (((a @ b.mT) * mask) @ c) + (given if reverse else scale * given)
    power = (i + 1) if reverse else (T - 1 - i)
    weight = torch.exp(-s * power)[..., None] * (scale if reverse else 1.0)
    final = torch.exp(-s[..., None] * T) * initial.double() + (b * weight).mT @ c
    out = out.transpose(0, 1)[None]
    if x.preactivation is not None:
        raw = per_query_head(x.preactivation, x.out).double().requires_grad_()
        out = out * torch.autograd.grad(torch.nn.functional.silu(raw).sum(), raw)[0]
    return out, final


def operands(T: int, H: int, heads: Sequence[int], K: int, V: int, dtype: torch.dtype) -> Operands:
    torch.manual_seed(T)
    a, b, c = (
        torch.randn(1, T, n, size, device=DEVICE).to(dtype)
        for n, size in zip(heads, (K, K, V), strict=True)
    )
    return Operands(a, b, c, torch.empty(1, T, H, V, dtype=dtype, device=DEVICE))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sweep_is_its_formula(reverse: bool, dtype: torch.dtype) -> None:
    lengths = [5, 0, 33, 16]
    ends = [0, *accumulate(lengths)]
    x = operands(54, 4, (4, 2, 1), 16, 32, dtype)
    slopes = alibi_slopes(4, 0, 80).to(DEVICE)
    initial = torch.randn(4, 4, 32, 16, device=DEVICE).mT  # strided, as a transposed state is
    final = torch.empty(4, 4, 16, 32, device=DEVICE)
    pieces = cut(Layout(4, 54, 4, True), 54, torch.tensor(ends, device=DEVICE))
    sweep([x], slopes, pieces, reverse=reverse, scale=-0.5, initial=initial, final=final)
    for n, (start, end) in enumerate(pairwise(ends)):
        a, b, c, o = (y[:, start:end] for y in x[:4])
        part = Operands(a, b, c, o)
        out, last = formula(part, slopes, initial[n], reverse, -0.5)
        if end > start:
            assert rel_rms(part.out, out) <= TOLERANCE[dtype]
        assert rel_rms(final[n], last) <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("reverse", "activated"),
    [
        (False, (True, True, True)),
        (False, (False, True, True)),
        (True, (True, True, False)),
        (True, (True, False, True)),
    ],
    ids=["o", "dq", "dv", "dk"],
)
def test_a_sweep_with_silu_is_its_formula(
    reverse: bool, activated: tuple[bool, bool, bool]
) -> None:
    """All tokens of a ragged tile, and the preactivation of heads that share it."""
    x = operands(37, 4, (4, 2, 2), 16, 32, torch.float32)._replace(activated=activated)
    if not all(activated):
        x = x._replace(preactivation=torch.randn(1, 37, 2, 64, device=DEVICE)[..., 32:])
    slopes = alibi_slopes(4, 0, 80).to(DEVICE)
    initial = torch.randn(1, 4, 16, 32, device=DEVICE)
    final, pieces = torch.empty_like(initial), cut(Layout(1, 37, 4, False), 37, None)
    sweep([x], slopes, pieces, reverse=reverse, scale=-0.5, initial=initial, final=final)
    out, last = formula(x, slopes, initial[0], reverse, -0.5)
    assert rel_rms(x.out, out) <= 1e-5
    assert rel_rms(final[0], last) <= 1e-5


def test_two_sweeps_at_once_are_two_sweeps() -> None:
    """dv and dk: the second takes the transposed states and writes none."""
    first = operands(40, 2, (2, 2, 2), 16, 32, torch.float32)
    second = operands(40, 2, (2, 2, 2), 32, 16, torch.float32)
    slopes = alibi_slopes(2, 0, 80).to(DEVICE)
    initial = torch.randn(1, 2, 16, 32, device=DEVICE)
    final, pieces = torch.empty_like(initial), cut(Layout(1, 40, 2, False), 40, None)
    sweep([first, second], slopes, pieces, reverse=True, initial=initial, final=final)
    out, last = formula(first, slopes, initial[0], True, 1.0)
    assert rel_rms(first.out, out) <= 1e-5
    assert rel_rms(final[0], last) <= 1e-5
    assert rel_rms(second.out, formula(second, slopes, initial[0].mT, True, 1.0)[0]) <= 1e-5


def test_results_may_be_float32_where_inputs_are_not() -> None:
    x = operands(20, 2, (1, 2, 2), 16, 16, torch.bfloat16)
    x = x._replace(out=x.out.float())
    slopes = alibi_slopes(2, 0, 80).to(DEVICE)
    sweep([x], slopes, cut(Layout(1, 20, 2, False), 20, None))
    out, _ = formula(x, slopes, torch.zeros(2, 16, 16, device=DEVICE), False, 1.0)
    assert rel_rms(x.out, out) <= TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("itemsize", [2, 4])
def test_tiles_are_what_matrix_instructions_take(itemsize: int) -> None:
    for K, V, longest in product(HEAD_SIZES, HEAD_SIZES, (0, 1, 16, 17, 50, 10**6)):
        found = portable.tiles(K, V, itemsize, longest)
        for n in (found.tokens, found.columns):
            assert n >= 16
            assert n & (n - 1) == 0
        assert found.tokens <= 64
        assert found.tokens < 2 * max(longest, 16)  # a short sequence is not padded to a long tile
        assert found.columns < 2 * max(V, 16)


def _fitting() -> dict[str, tuple[torch.Tensor, bool]]:
    x = torch.zeros(2, 8, 4, 3 * 128, dtype=torch.bfloat16)
    return {
        "contiguous": (x[..., :128].contiguous(), True),
        "side by side": (x[..., 128:256], True),
        "stacked": (x.view(2, 8, 3, 4, 128)[:, :, 1], True),
        "64": (x[..., :64], True),
        "96": (x[..., :96], False),
        "float16": (x[..., :128].half(), False),
        "off 16 bytes": (x[..., 1:129], False),
        "rows off 16 bytes": (torch.zeros(1, 8, 129, dtype=x.dtype)[..., None, :128], False),
        "heads first": (x[..., :128].transpose(1, 2).contiguous().transpose(1, 2), False),
        "heads first, one": (x[:1, :, :1, :128].contiguous(), True),
        "part of each row": (x[:, :7, :, :128], False),
        "part of one row": (x[:1, :7, :, :128], True),
        "expanded": (x[:, :1, :, :128].expand(-1, 8, -1, -1), False),
        "strided": (x[..., ::3], False),
    }


@pytest.mark.parametrize("name", list(_fitting()))
def test_what_the_copy_engine_can_address(name: str) -> None:
    x, fits = _fitting()[name]
    assert hopper.fits(x) == fits


def test_only_a_hopper_gpu_takes_the_form_for_it() -> None:
    x = torch.zeros(1, 8, 1, 64, dtype=torch.bfloat16, device=DEVICE)
    capability = torch.cuda.get_device_capability() if DEVICE.type == "cuda" else None
    assert module.takes_hopper([Operands(x, x, x, x)]) == (capability == (9, 0))


@pytest.mark.parametrize(
    ("activated", "raw", "together"),
    [
        (((False,) * 3, (False,) * 3), False, True),
        (((True, True, False), (True, False, True)), True, True),
        (((True, True, False), (True, False, True)), False, False),
        (((True, False, False), (True, False, False)), True, False),
    ],
)
def test_dv_and_dk_are_swept_together_with_silu_of_all_or_none(
    activated: Any, raw: bool, together: bool
) -> None:
    x = torch.zeros(1, 8, 1, 128, dtype=torch.bfloat16)
    pair = [Operands(x, x, x, x, silu, x if raw else None) for silu in activated]
    assert module.takes_both(pair) == together
    narrow = x[..., :64]
    assert not module.takes_both([one._replace(c=narrow) for one in pair])


@pytest.fixture
def on_hopper() -> None:
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs a GPU of compute capability 9.0")


@pytest.mark.gpu
@pytest.mark.usefixtures("on_hopper")
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize(
    ("K", "V", "initial"),
    [(128, 128, True), (128, 128, False), (64, 64, True), (64, 128, False), (128, 64, True)],
)
def test_hopper_equals_portable(
    K: int, V: int, initial: bool, activation: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and cut (above 256 tokens), ragged and not, with heads that share k and v or not."""
    chosen: list[Kernel] = []
    choose = sentinel.choose

    def record(plans: Any, device: torch.device) -> tuple[sentinel.Candidate, ...]:
        plan = choose(plans, device)
        chosen.extend({one.kernel for one in plan} & {HOPPER, GRADIENTS, PORTABLE})
        return plan

    monkeypatch.setattr(sentinel, "choose", record)
    takes_hopper = module.takes_hopper
    both = GRADIENTS if (K, V) == (128, 128) else HOPPER
    lengths: list[Any] = [1, 63, 64, 65, 256, 700, [0, 64, 1, 0, 130], [0, 64, 1, 0, 130, 256, 400]]
    for tokens, shared in [*((t, 4) for t in lengths), (700, 2)]:
        x = case(
            tokens, 1, 4, shared, K, V,
            initial=initial, dtype=torch.bfloat16, scale=0.5, activation=activation,
        )  # fmt: skip
        chosen.clear()
        monkeypatch.setattr(module, "takes_hopper", takes_hopper)
        with cut_every(256, part=128):
            found = outcome(x)
        assert chosen == [HOPPER, HOPPER, both]  # o; dq; dv and dk
        monkeypatch.setattr(module, "takes_hopper", lambda _: False)
        with cut_every(256, part=128):
            other = outcome(x)
        assert chosen[3:] == [PORTABLE] * 3
        wanted = exact(x, form=chunked)
        near(found, wanted, torch.bfloat16)
        near(other, wanted, torch.bfloat16)
        near(found, {name: y.double() for name, y in other.items()}, torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.usefixtures("on_hopper")
def test_hopper_reads_a_batch_out_of_a_fused_projection() -> None:
    x = case(333, 3, 4, K=128, V=128, dtype=torch.bfloat16, activation="silu")
    q, k, v = torch.stack([x.q, x.k, x.v], 2).unbind(2)
    moved = x._replace(q=q, k=k, v=v)
    assert module.takes_hopper([Operands(q, k, v, torch.empty_like(x.v))])
    near(outcome(moved), exact(x, form=chunked), torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.usefixtures("on_hopper")
def test_hopper_keeps_what_is_not_finite_in_its_document() -> None:
    x = case([70, 50, 80], H=2, K=128, V=128, dtype=torch.bfloat16)
    for y in (x.q, x.k, x.v):
        y[0, 70:120] = float("nan")
    found = outcome(x)
    for name in ("o", "dq", "dk", "dv"):
        assert found[name][0, 70:120].isnan().all(), name
        assert found[name][0, :70].isfinite().all(), name
        assert found[name][0, 120:].isfinite().all(), name
    for name in ("state", "dinitial"):
        assert found[name][[0, 2]].isfinite().all(), name
