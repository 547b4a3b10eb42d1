"""The gated norm against its equation in float64, on one rank and over several."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.norm_gate import norm_gate, reference
from kernels.norms import passes, tiles
from tests.kernels.tensors.leaves import DEVICE, DTYPES, assert_near, doubled, leaf
from tests.kernels.tensors.process_group import run_ranks


def exact(
    o: Tensor, gate: Tensor, weight: Tensor, dy: Tensor, eps: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, do, dgate and dweight in float64."""
    o, gate, weight = doubled(o), doubled(gate), doubled(weight)
    y = reference.norm_gate(o, gate, weight, eps)
    do, dgate, dweight = torch.autograd.grad(y, [o, gate, weight], dy.double())
    return y, do, dgate, dweight


def against_equation(o: Tensor, gate: Tensor, weight: Tensor, eps: float = 1e-6) -> None:
    dy = leaf(*gate.shape, dtype=o.dtype, seed=9).detach()
    y = norm_gate(o, gate, weight, eps)
    assert y.is_contiguous()
    assert y.dtype == o.dtype
    found = [y, *torch.autograd.grad(y, [o, gate, weight], dy)]
    assert [tensor.dtype for tensor in found[1:]] == [o.dtype, gate.dtype, weight.dtype]
    assert_near(found, list(exact(o, gate, weight, dy, eps)))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    tokens=st.integers(1, 20),
    heads=st.sampled_from([1, 2, 3]),
    size=st.sampled_from([16, 40, 64]),
    dtype=st.sampled_from(DTYPES),
    weight_dtype=st.sampled_from(DTYPES),
    merged=st.booleans(),
    sliced=st.booleans(),
)
def test_any_shape_layout_and_dtype(
    tokens: int,
    heads: int,
    size: int,
    dtype: torch.dtype,
    weight_dtype: torch.dtype,
    merged: bool,
    sliced: bool,
) -> None:
    width = heads * size
    shape = (2, tokens, width) if merged else (2, tokens, heads, size)
    o = leaf(*shape, dtype=dtype, seed=1)
    fused = leaf(2, tokens, 4 * width, dtype=dtype, seed=2).detach()
    gate = (fused[..., 3 * width :] if sliced else fused[..., :width].clone()).requires_grad_()
    against_equation(o, gate, leaf(width, dtype=weight_dtype, seed=3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_programs_that_walk_several_tiles(form: str, dtype: torch.dtype) -> None:
    tile = tiles.whole_rows(64)
    tokens = 20 * tile.rows + 3
    assert tokens // tile.rows > tiles.programs(tokens // tile.rows, 1, tile.warps, 2)
    o, gate = leaf(tokens, 2, 32, dtype=dtype, seed=1), leaf(tokens, 64, dtype=dtype, seed=2)
    against_equation(o, gate, leaf(64, dtype=dtype, seed=3))


def test_rows_too_wide_for_registers(form: str) -> None:
    width = tiles.WIDEST_FORWARD + 128
    o, gate = leaf(1, width // 128, 128, seed=1), leaf(1, width, seed=2)
    against_equation(o, gate, leaf(width, seed=3))


def test_gate_of_another_dtype_and_of_large_logits(form: str) -> None:
    gate = (100 * leaf(6, 64, seed=2).detach()).requires_grad_()
    gate.data[0, :3] = torch.tensor([float("inf"), -float("inf"), 1e30], device=DEVICE)
    o, weight = leaf(6, 64, dtype=torch.bfloat16, seed=1), leaf(64, seed=3)
    against_equation(o, gate, weight)


def test_nan_stays_in_its_token(form: str) -> None:
    o, gate, weight = leaf(5, 64).detach(), leaf(5, 64, seed=1).detach(), leaf(64, seed=2)
    o[1, 3], gate[3, 0] = float("nan"), float("nan")
    y = norm_gate(o, gate, weight)
    assert y[[0, 2, 4]].isfinite().all()
    assert y[1].isnan().all()
    assert y[3].isnan().sum() == 1
    (dweight,) = torch.autograd.grad(y.sum(), weight)
    assert dweight.isnan().all()


def test_runs_are_bitwise_equal(form: str) -> None:
    o, gate, weight = leaf(300, 64), leaf(300, 64, seed=1), leaf(64, seed=2)
    dy = leaf(300, 64, seed=3).detach()
    runs = [torch.autograd.grad(norm_gate(o, gate, weight), [o, gate, weight], dy) for _ in "abc"]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def parts(tensor: Tensor, ranks: int) -> list[Tensor]:
    """What each rank holds of the last dimension."""
    return list(tensor.detach().chunk(ranks, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_simulated_ranks(form: str, dtype: torch.dtype) -> None:
    """The passes that the operator makes with a group, with the sums over ranks made here."""
    ranks, width = 4, 160
    o, gate, dy = (leaf(7, width, dtype=dtype, seed=s).detach() for s in (1, 2, 3))
    weight = leaf(width, dtype=dtype, seed=4).detach()
    locals_ = list(zip(*(parts(t, ranks) for t in (o, gate, weight, dy)), strict=True))
    work = passes.passes(o)
    numbers = {"full_width": width, "alpha": 1.0, "eps": 1e-6}
    squares = torch.stack([work.sum_of_squares(mine) for mine, *_ in locals_]).sum(0)
    moments = torch.stack([work.moments(d, m, w, g) for m, g, w, d in locals_]).sum(0)
    results: list[tuple[Tensor, ...]] = []
    for mine, its_gate, its_weight, its_dy in locals_:
        y, same, _ = work.forward(mine, its_weight, its_gate, None, squares, **numbers)
        assert same is squares
        do, _, dgate, dweight = work.backward(
            its_dy,
            mine,
            its_weight,
            its_gate,
            squares,
            moments,
            None,
            **numbers,
            wants_gain=True,
            wants_residual=False,
        )
        results.append((y, do, dgate, dweight))
    found = [torch.cat(one, -1) for one in zip(*results, strict=True)]
    assert_near(found, list(exact(o, gate, weight, dy)))


def _rank(rank: int, ranks: int, folder: str) -> None:
    """One process of the group: its heads against the equation over all of them."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks
    )
    whole = [leaf(2, 3, 64, seed=s) for s in (1, 2, 3)]
    o, gate, dy = (parts(tensor, ranks)[rank].requires_grad_() for tensor in whole)
    weight = parts(leaf(64, seed=4), ranks)[rank].requires_grad_()
    group = dist.group.WORLD
    heads = o.reshape(2, 3, 2, 16)
    y = norm_gate(heads, gate, weight, group=group)
    found = [y, *torch.autograd.grad(y, [o, gate, weight], dy.detach())]
    expected = exact(whole[0], whole[1], leaf(64, seed=4), whole[2].detach())
    assert_near(found, [parts(tensor, ranks)[rank] for tensor in expected], 1e-6)
    hinted = norm_gate(heads, gate, weight, group=group, sum_of_squares=o.detach().square().sum(-1))
    assert_near([hinted], [y], 1e-6)
    torch.save([tensor.detach().cpu() for tensor in found], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.xdist_group("gloo")
def test_group_of_processes(tmp_path: Path) -> None:
    run_ranks(2, _rank, str(tmp_path))
    assert all(torch.load(tmp_path / f"{rank}.pt")[0].isfinite().all() for rank in (0, 1))


def test_given_sums_are_taken_at_their_word(form: str) -> None:
    o, gate, weight = leaf(5, 32), leaf(5, 32, seed=1), leaf(32, seed=2)
    sums = o.detach().square().sum(-1)
    dy = leaf(5, 32, seed=3).detach()
    y = norm_gate(o, gate, weight, sum_of_squares=sums)
    found = [y, *torch.autograd.grad(y, [o, gate, weight], dy)]
    assert_near(found, list(exact(o, gate, weight, dy)), 1e-6)
    halved = norm_gate(o, gate, weight, eps=0.0, sum_of_squares=4 * sums)
    assert_near([2 * halved], [norm_gate(o, gate, weight, eps=0.0)], 1e-6)


def test_compiles_and_checkpoints() -> None:
    o, gate, weight = leaf(2, 5, 2, 16), leaf(2, 5, 96, seed=1), leaf(32, seed=2)

    def layer(o: Tensor, fused: Tensor, weight: Tensor) -> Tensor:
        return norm_gate(o, fused[..., 32:64], weight).square()

    def gradients(y: Tensor) -> list[Tensor]:
        return [y, *torch.autograd.grad(y.sum(), [o, gate, weight])]

    eager = gradients(layer(o, gate, weight))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_near(gradients(compiled(o, gate, weight)), eager, 1e-6)
    again = checkpoint(layer, o, gate, weight, use_reentrant=False)
    assert all(torch.equal(a, b) for a, b in zip(gradients(again), eager, strict=True))


def test_operators_are_what_they_declare() -> None:
    """torch's own check of schema, fake implementation and autograd."""
    o, gate, weight = leaf(3, 32), leaf(3, 32, seed=1), leaf(32, seed=2)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.leyden.norm_gate.default,
        (o, gate, weight, None, 1e-6, 1, ""),
        test_utils=checks,
    )
    plain = [tensor.detach() for tensor in (o, gate, weight)]
    torch.library.opcheck(
        torch.ops.leyden.norm_gate_backward.default,
        (*plain, True, plain[0], plain[0].square().sum(-1), 1e-6, 1, ""),
        test_utils=checks,
    )


def test_frozen_weight_and_no_tokens() -> None:
    o, gate = leaf(3, 32), leaf(3, 32, seed=1)
    torch.autograd.backward(norm_gate(o, gate, torch.ones(32, device=DEVICE)).sum())
    assert o.grad is not None
    assert gate.grad is not None
    weight = leaf(32)
    torch.autograd.backward(norm_gate(leaf(0, 2, 16), leaf(0, 32), weight).sum())
    assert weight.grad is not None
    assert not weight.grad.any()


def test_bad_input_is_refused_by_name() -> None:
    o, gate, weight = (t.detach() for t in (leaf(3, 2, 16), leaf(3, 32), leaf(32)))
    with pytest.raises(TypeError, match=r"o: found torch\.float64"):
        norm_gate(o.double(), gate, weight)
    with pytest.raises(TypeError, match=r"gate: found torch\.int32"):
        norm_gate(o, gate.int(), weight)
    with pytest.raises(ValueError, match=r"weight: found shape \(1, 32\)"):
        norm_gate(o, gate, weight[None])
    with pytest.raises(ValueError, match=r"gate: found shape \(3, 32\), expected \(3, 16\)"):
        norm_gate(o, gate, weight[:16])
    with pytest.raises(ValueError, match=r"o: found shape \(3, 2, 8\)"):
        norm_gate(o[..., :8], gate, weight)
    with pytest.raises(ValueError, match=r"o: found shape \(3, 2, 16\)"):
        norm_gate(o, gate[:2], weight)
    with pytest.raises(ValueError, match="eps: found nan"):
        norm_gate(o, gate, weight, float("nan"))
    with pytest.raises(ValueError, match=r"sum_of_squares: found shape \(2,\)"):
        norm_gate(o, gate, weight, sum_of_squares=gate[:2, 0])
    with pytest.raises(TypeError, match=r"sum_of_squares: found torch\.bfloat16"):
        norm_gate(o, gate, weight, sum_of_squares=gate[:, 0].bfloat16())


@pytest.mark.gpu
@pytest.mark.parametrize("heads", [8, 64, 128])
@pytest.mark.parametrize("dtype", DTYPES)
def test_paper_widths(heads: int, dtype: torch.dtype) -> None:
    tokens, width = 2**24 // (heads * 128), heads * 128
    o = leaf(1, tokens, heads, 128, dtype=dtype, seed=1)
    fused = leaf(1, tokens, 2 * width, dtype=dtype, seed=2).detach()
    against_equation(o, fused[..., width:].requires_grad_(), leaf(width, dtype=dtype, seed=3))


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
def test_more_than_two_to_the_31_elements() -> None:
    tokens, width = 270_000, 8192
    o = torch.randn(tokens, width, device=DEVICE, dtype=torch.bfloat16).requires_grad_()
    gate = torch.randn(tokens, width, device=DEVICE, dtype=torch.bfloat16).requires_grad_()
    weight = leaf(width, dtype=torch.bfloat16)
    y = norm_gate(o, gate, weight)
    do, dgate = torch.autograd.grad(y, [o, gate], o.detach())
    expected = exact(o[-5:], gate[-5:], weight, o.detach()[-5:])[:3]
    assert_near([t[-5:] for t in (y, do, dgate)], list(expected))
