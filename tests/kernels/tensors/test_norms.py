"""RMSNorm, SRMSNorm and the residual form against their equations in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.norms import (
    RMSNorm,
    add_rms_norm,
    plain,
    reference,
    rms_norm,
    srms_norm,
    tiles,
)
from tests.kernels.tensors.leaves import DEVICE, DTYPES, assert_near, doubled, leaf


def strided(rows: int, width: int, layout: str, dtype: torch.dtype, seed: int) -> Tensor:
    """A leaf ``[rows, width]`` that lies in memory as ``layout`` says."""
    if layout == "slice":
        wide = leaf(rows, 3 * width + 1, dtype=dtype, seed=seed).detach()
        return wide[:, width : 2 * width].requires_grad_()
    if layout == "columns":
        return leaf(width, rows, dtype=dtype, seed=seed).detach().t().requires_grad_()
    return leaf(rows, width, dtype=dtype, seed=seed)


def against_equation(x: Tensor, gain: Tensor | None, eps: float, seed: int = 1) -> None:
    """Output and gradients, all at once."""
    dy = leaf(*x.shape, dtype=x.dtype, seed=seed).detach()
    leaves = [x] if gain is None else [x, gain]
    y = rms_norm(x, gain, eps)
    assert y.is_contiguous()
    assert y.dtype == x.dtype
    found = [y, *torch.autograd.grad(y, leaves, dy)]
    exact = [doubled(tensor) for tensor in leaves]
    expected_y = reference.rms_norm(exact[0], exact[1] if len(exact) > 1 else None, eps)
    expected = [expected_y, *torch.autograd.grad(expected_y, exact, dy.double())]
    assert_near(found, expected)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 40),
    width=st.sampled_from([16, 33, 64, 100, 257]),
    layout=st.sampled_from(["rows", "slice", "columns"]),
    dtype=st.sampled_from(DTYPES),
    gain_dtype=st.sampled_from([None, *DTYPES]),
    eps=st.sampled_from([0.0, 1e-6, 1e-2]),
)
def test_any_shape_layout_and_dtype(
    rows: int,
    width: int,
    layout: str,
    dtype: torch.dtype,
    gain_dtype: torch.dtype | None,
    eps: float,
) -> None:
    x = strided(rows, width, layout, dtype, seed=100 + rows)
    gain = None if gain_dtype is None else leaf(width, dtype=gain_dtype, seed=200 + width)
    against_equation(x, gain, eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_programs_that_walk_several_tiles(form: str, dtype: torch.dtype) -> None:
    tile = tiles.whole_rows(64)
    rows = 20 * tile.rows + 3
    assert rows // tile.rows > tiles.programs(rows // tile.rows, 1, tile.warps, 2)
    against_equation(leaf(rows, 64, dtype=dtype), leaf(64, dtype=dtype, seed=2), 1e-5)


def test_rows_too_wide_for_registers(form: str) -> None:
    width = tiles.WIDEST_FORWARD + 5
    against_equation(leaf(2, width), leaf(width, seed=2), 1e-5)


def test_one_feature() -> None:
    x = torch.tensor([[2.0], [-3.0]], device=DEVICE, requires_grad=True)
    y = rms_norm(x, None, 0.0)
    assert y.flatten().tolist() == pytest.approx([1.0, -1.0], abs=1e-6)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [1.0, 3.5565588200778455])
@pytest.mark.parametrize("used", ["both", "norm", "total"])
def test_residual_form(form: str, dtype: torch.dtype, alpha: float, used: str) -> None:
    x, residual, gain = (leaf(2, 9, 64, dtype=dtype, seed=s) for s in (1, 2, 3))
    gain = gain[0, 0].detach().requires_grad_()
    total, y = add_rms_norm(residual, x, gain, alpha=alpha, eps=1e-5)
    exact = [doubled(tensor) for tensor in (residual, x, gain)]
    sums = alpha * exact[0] + exact[1]
    # By definition the norm sees the sum as it was rounded.
    rounded = sums + (total.detach().double() - sums).detach()
    normed = reference.rms_norm(rounded, exact[2], 1e-5)
    outputs = {"both": [total, y], "norm": [y], "total": [total]}[used]
    expected_outputs = {"both": [rounded, normed], "norm": [normed], "total": [rounded]}[used]
    weights = [leaf(2, 9, 64, dtype=dtype, seed=7 + i).detach() for i in range(len(outputs))]
    wanted = slice(0, 2) if used == "total" else slice(0, 3)
    found = torch.autograd.grad(outputs, [residual, x, gain][wanted], weights)
    expected = torch.autograd.grad(expected_outputs, exact[wanted], [w.double() for w in weights])
    assert_near([total, y, *found], [sums, normed, *expected])


def test_residual_form_of_wide_rows() -> None:
    width = tiles.WIDEST_FORWARD + 5
    x, residual = leaf(1, width), leaf(1, width, seed=1)
    total, y = add_rms_norm(residual, x, alpha=2.0)
    expected = reference.add_rms_norm(residual.detach().double(), x.detach().double(), alpha=2.0)
    assert_near([total, y], list(expected), 1e-6)


def test_residual_form_is_the_two_steps_apart() -> None:
    x, residual, gain = (leaf(5, 64, dtype=torch.bfloat16, seed=s).detach() for s in (1, 2, 3))
    total, y = add_rms_norm(residual, x, gain[0], alpha=2.0)
    assert torch.equal(y, rms_norm(total, gain[0]))


def test_runs_are_bitwise_equal(form: str) -> None:
    x, gain, dy = leaf(700, 48), leaf(48, seed=2), leaf(700, 48, seed=3)
    runs = [torch.autograd.grad(rms_norm(x, gain), [x, gain], dy.detach()) for _ in range(3)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_srms_norm_has_rows_of_mean_square_one() -> None:
    y = srms_norm(leaf(3, 4, 96), eps=0.0)
    assert torch.allclose(y.square().mean(-1), torch.ones(3, 4, device=DEVICE), atol=1e-6)


def test_rows_do_not_reach_each_other(form: str) -> None:
    """NaN, infinity and 0/0 stay in their rows, but for the gain's gradient, which sums them."""
    x = leaf(7, 64).detach()
    x[1], x[3, 5], x[5, 0] = 0.0, float("nan"), float("inf")
    x.requires_grad_()
    gain = leaf(64, seed=2)
    y = rms_norm(x, gain, eps=0.0)
    dx, dgain = torch.autograd.grad(y.sum(), [x, gain])
    sound = torch.tensor([True, False, True, False, True, False, True], device=DEVICE)
    for tensor in (y.detach(), dx):
        assert tensor[sound].isfinite().all()
        assert tensor[~sound].isnan().any(1).all()
    assert dgain.isnan().all()
    # Rows that pad the last tile are zeros: they are no rows.
    fine = leaf(7, 64)
    (dgain,) = torch.autograd.grad(rms_norm(fine, gain, eps=0.0).sum(), gain)
    assert dgain.isfinite().all()


def test_what_needs_no_gradient_gets_none() -> None:
    x, gain = leaf(3, 16), leaf(16, seed=2)
    torch.autograd.backward(rms_norm(x, gain.detach()).sum())
    assert x.grad is not None
    torch.autograd.backward(rms_norm(x.detach(), gain).sum())
    assert gain.grad is not None
    assert not rms_norm(x.detach(), gain.detach()).requires_grad


def test_no_tokens() -> None:
    x, gain = leaf(0, 4, 16), leaf(16)
    y = rms_norm(x, gain)
    torch.autograd.backward(y.sum())
    assert y.shape == (0, 4, 16)
    assert gain.grad is not None
    assert not gain.grad.any()


def test_compiles_and_checkpoints() -> None:
    x, residual, gain = leaf(3, 5, 32), leaf(3, 5, 32, seed=1), leaf(32, seed=2)

    def layer(residual: Tensor, x: Tensor, gain: Tensor) -> Tensor:
        total, y = add_rms_norm(residual, x, gain, alpha=2.0)
        return total * rms_norm(y, gain)

    def gradients(y: Tensor) -> list[Tensor]:
        return [y, *torch.autograd.grad(y.sum(), [residual, x, gain])]

    eager = gradients(layer(residual, x, gain))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_near(gradients(compiled(residual, x, gain)), eager, 1e-6)
    again = checkpoint(layer, residual, x, gain, use_reentrant=False)
    assert all(torch.equal(a, b) for a, b in zip(gradients(again), eager, strict=True))


@pytest.mark.parametrize("with_gain", [True, False])
def test_operators_are_what_they_declare(with_gain: bool) -> None:
    """torch's own check of schema, fake implementation, autograd and AOT dispatch."""
    x, gain = leaf(3, 16), leaf(16, seed=2) if with_gain else None
    ops = torch.ops.leyden
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.rms_norm.default, (x, gain, 1e-5), test_utils=checks)
    torch.library.opcheck(
        ops.add_rms_norm.default, (leaf(3, 16, seed=4), x, gain, 2.0, 1e-5), test_utils=checks
    )
    squares = plain.sum_of_squares(x.detach())
    torch.library.opcheck(
        ops.rms_norm_backward.default,
        (x.detach(), gain, with_gain, x.detach(), squares, 1e-5),
        test_utils=checks,
    )


def test_module_marks_its_gain_for_megatron() -> None:
    marked = RMSNorm(32, sequence_parallel=True, device=DEVICE)
    assert marked.weight is not None
    assert vars(marked.weight)["sequence_parallel"] is True
    assert [name for name, _ in marked.named_parameters()] == ["weight"]
    alone = RMSNorm(32, device=DEVICE)
    assert alone.weight is not None
    assert vars(alone.weight)["sequence_parallel"] is False
    x = leaf(4, 32)
    assert torch.equal(marked(x), rms_norm(x, torch.ones(32, device=DEVICE)))
    simple = RMSNorm(32, eps=0.0, gain=False)
    assert not list(simple.parameters())
    assert torch.equal(simple(x), srms_norm(x, 0.0))
    with pytest.raises(ValueError, match=r"expected \[\.\.\., 32\]"):
        marked(leaf(4, 31))


def test_bad_input_is_refused_by_name() -> None:
    x = leaf(3, 16).detach()
    with pytest.raises(TypeError, match=r"x: found torch\.float64"):
        rms_norm(x.double())
    with pytest.raises(TypeError, match=r"gain: found torch\.int64"):
        rms_norm(x, torch.ones(16, dtype=torch.int64, device=DEVICE))
    with pytest.raises(ValueError, match=r"gain: found shape \(15,\), expected \(16,\)"):
        rms_norm(x, torch.ones(15, device=DEVICE))
    with pytest.raises(ValueError, match="gain: found device meta"):
        rms_norm(x, torch.ones(16, device="meta"))
    with pytest.raises(ValueError, match="width >= 1"):
        rms_norm(x[:, :0])
    with pytest.raises(ValueError, match="eps: found -1"):
        rms_norm(x, eps=-1)
    with pytest.raises(ValueError, match="alpha: found inf"):
        add_rms_norm(x, x, alpha=float("inf"))
    with pytest.raises(ValueError, match="residual: found shape"):
        add_rms_norm(x[:2], x)
    with pytest.raises(TypeError, match=r"residual: found torch\.bfloat16"):
        add_rms_norm(x.bfloat16(), x)


@pytest.mark.parametrize("width", [1, 2, 127, 128, 6144, 8192, 16384, 20480])
def test_tiles_cover_rows_and_fill_warps(width: int) -> None:
    for tile in (tiles.whole_rows(width), tiles.strips(width), tiles.reduced_rows(width)):
        assert tile.rows & (tile.rows - 1) == 0
        assert tile.columns & (tile.columns - 1) == 0
        assert tile.rows * tile.columns <= 32 * 32 * tile.warps or width > tiles.WIDEST_FORWARD
    assert tiles.whole_rows(width).columns >= width


@pytest.mark.gpu
@pytest.mark.parametrize("width", [128, 6144, 8192, 12288, 32768])
@pytest.mark.parametrize("dtype", DTYPES)
def test_paper_widths(width: int, dtype: torch.dtype) -> None:
    rows = 2**25 // width
    against_equation(leaf(rows, width, dtype=dtype), leaf(width, dtype=dtype, seed=2), 1e-5)


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
def test_more_than_two_to_the_31_elements() -> None:
    rows, width = 300_000, 8192
    x = torch.randn(rows, width, device=DEVICE, dtype=torch.bfloat16).requires_grad_()
    gain = leaf(width, dtype=torch.bfloat16)
    y = rms_norm(x, gain)
    (dx,) = torch.autograd.grad(y, x, x.detach())
    end = doubled(x[-5:])
    expected = reference.rms_norm(end, gain.detach().double())
    (expected_dx,) = torch.autograd.grad(expected, end, end.detach())
    assert_near([y[-5:], dx[-5:]], [expected, expected_dx])


@pytest.mark.gpu
def test_runs_are_bitwise_equal_at_size() -> None:
    x, gain = leaf(65536, 6144, dtype=torch.bfloat16), leaf(6144, seed=1)
    runs = [torch.autograd.grad(rms_norm(x, gain), [x, gain], x.detach()) for _ in range(3)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))
