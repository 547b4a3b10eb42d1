"""Rotary position embedding against its equation in float64, at positions up to 10 million."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.rotary import positions_of, reference, rotary
from kernels.triton_support import runs_triton
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FAR = [0, 1, 8191, 1_048_576, 9_999_999, 10_000_000]


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def exact(x: Tensor, positions: Tensor, rotary_dim: int, base: float) -> Tensor:
    return reference.rotary(x, positions.expand(x.shape[:2]), rotary_dim, base)


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert rel_rms(found.detach(), expected.detach()) <= TOLERANCE[found.dtype]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    tokens=st.integers(1, 6),
    heads=st.sampled_from([(1, 1), (3, 1), (4, 2)]),
    head=st.sampled_from([2, 24, 64, 96]),
    share=st.sampled_from([1, 2, 3]),
    dtype=st.sampled_from(DTYPES),
    base=st.sampled_from([1.0, 10_000.0, 1e7]),
    first=st.integers(-5, 10_000_000),
    by_batch=st.booleans(),
    index=st.sampled_from([torch.int32, torch.int64]),
    seq_first=st.booleans(),
)
def test_slices_of_a_fused_projection(
    tokens: int,
    heads: tuple[int, int],
    head: int,
    share: int,
    dtype: torch.dtype,
    base: float,
    first: int,
    by_batch: bool,
    index: torch.dtype,
    seq_first: bool,
) -> None:
    """q and k lie interleaved by groups, [q.. k v], in [B, T] or [T, B] order, as Megatron's do."""
    rotary_dim = max(2, head // share // 2 * 2)
    q_heads, k_heads = heads
    group = q_heads // k_heads + 2
    fused = normal(2, tokens, k_heads, group, head, dtype=dtype, seed=tokens)
    if seq_first:
        fused = fused.transpose(0, 1).contiguous().transpose(0, 1)
    fused.requires_grad_()
    q = fused[:, :, :, :-2].flatten(2, 3)
    k = fused[:, :, :, -2]
    positions = torch.arange(first, first + tokens, device=DEVICE, dtype=index)
    if by_batch:
        positions = torch.stack([positions, positions.flip(0)])
    rotated = rotary(q, k, rotary_dim=rotary_dim, base=base, positions=positions)
    for ours, x in zip(rotated, (q, k), strict=True):
        assert ours.is_contiguous()
        assert ours.dtype == dtype
        assert_near(ours, exact(x, positions, rotary_dim, base))
        assert torch.equal(ours[..., rotary_dim:], x[..., rotary_dim:])
    upstream = [normal(*y.shape, dtype=dtype, seed=5) for y in rotated]
    (found,) = torch.autograd.grad(rotated, fused, upstream)
    twin = fused.detach().double().requires_grad_()
    slices = twin[:, :, :, :-2].flatten(2, 3), twin[:, :, :, -2]
    expected = [exact(x, positions, rotary_dim, base) for x in slices]
    assert_near(found, torch.autograd.grad(expected, twin, [u.double() for u in upstream])[0])


@pytest.mark.parametrize("base", [10_000.0, 5e6, 1e7])
def test_angles_are_accurate_at_ten_million(form: str, base: float) -> None:
    """cos and sin themselves: the rotation of (1, 0) pairs."""
    q = torch.zeros(1, len(FAR), 1, 128, device=DEVICE)
    q[..., :32] = 1.0
    positions = torch.tensor(FAR, device=DEVICE)
    y, _ = rotary(q, q, rotary_dim=64, base=base, positions=positions)
    angle = reference.angles(positions, 64, base)[None, :, None]
    assert (y[..., :32] - angle.cos()).abs().max() <= 3e-7
    assert (y[..., 32:64] - angle.sin()).abs().max() <= 3e-7


def test_half_rotation_of_transformers(form: str) -> None:
    """The released pairing, written as ``x * cos + rotate_half(x) * sin`` over [angles, angles]."""
    x = normal(1, 9, 2, 64)
    angle = torch.outer(torch.arange(9.0), 10_000.0 ** (-torch.arange(0, 32, 2) / 32)).to(DEVICE)
    angle = torch.cat([angle, angle], -1)[:, None]
    turned, rest = x[..., :32], x[..., 32:]
    half = torch.cat([-turned[..., 16:], turned[..., :16]], -1)
    expected = torch.cat([turned * angle.cos() + half * angle.sin(), rest], -1)
    y, _ = rotary(x, x, rotary_dim=32)
    assert torch.allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_is_the_rotation_back(form: str, dtype: torch.dtype) -> None:
    q, k = (normal(2, 5, h, 32, dtype=dtype, seed=h).requires_grad_() for h in (3, 1))
    rotated = rotary(q, k, rotary_dim=16)
    back = torch.autograd.grad(rotated, [q, k], [y.detach() for y in rotated])
    for ours, x in zip(back, (q, k), strict=True):
        assert rel_rms(ours, x.detach()) <= 2 * TOLERANCE[dtype]  # rounded twice


def test_only_one_output_used(form: str) -> None:
    q, k = normal(1, 3, 2, 16).requires_grad_(), normal(1, 3, 1, 16, seed=1).requires_grad_()
    y, _ = rotary(q, k)
    dq, dk = torch.autograd.grad(y.square().sum(), [q, k], allow_unused=True)
    assert_near(dq, 2 * q.detach().double())  # a rotation keeps lengths
    assert dk is None or not dk.any()


def test_second_derivative() -> None:
    q = normal(1, 3, 1, 16).requires_grad_()
    y, _ = rotary(q, q.detach())
    (first,) = torch.autograd.grad(y.pow(4).sum(), q, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), q)
    twin = q.detach().double().requires_grad_()
    z = exact(twin, torch.arange(3, device=DEVICE), 16, 10_000.0)
    (first,) = torch.autograd.grad(z.pow(4).sum(), twin, create_graph=True)
    assert_near(second, torch.autograd.grad(first.sum(), twin)[0])


def test_packed_sequences_start_at_zero(form: str) -> None:
    bounds = torch.tensor([0, 3, 3, 4, 9], device=DEVICE, dtype=torch.int32)
    assert positions_of(bounds, 9).tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 4]
    q, k = normal(1, 9, 2, 16), normal(1, 9, 1, 16, seed=1)
    packed = rotary(q, k, cu_seqlens=bounds)
    apart = [rotary(q[:, a:b], k[:, a:b]) for a, b in ((0, 3), (3, 4), (4, 9))]
    for ours, theirs in zip(packed, zip(*apart, strict=True), strict=True):
        assert torch.equal(ours, torch.cat(theirs, 1))


def test_nan_stays_in_its_pair(form: str) -> None:
    q = normal(1, 3, 2, 16)
    q[0, 1, 1, 3] = float("nan")
    y, z = rotary(q, q[:, :, :1], rotary_dim=8)
    assert y.isnan().nonzero().tolist() == [[0, 1, 1, 3], [0, 1, 1, 7]]
    assert not z.isnan().any()


def test_no_tokens() -> None:
    y, z = rotary(normal(2, 0, 3, 8), normal(2, 0, 1, 8))
    assert (y.shape, z.shape) == ((2, 0, 3, 8), (2, 0, 1, 8))
    assert positions_of(torch.tensor([0], device=DEVICE), 0).shape == (0,)


def test_compiles_and_checkpoints() -> None:
    fused = normal(1, 7, 4, 16).requires_grad_()
    bounds = torch.tensor([0, 3, 7], device=DEVICE)

    def layer(fused: Tensor) -> Tensor:
        q, k = rotary(fused[:, :, :3], fused[:, :, 3:], rotary_dim=8, cu_seqlens=bounds)
        return torch.cat([q, k], 2).pow(3)

    def gradients(y: Tensor) -> list[Tensor]:
        return [y, *torch.autograd.grad(y.sum(), fused)]

    eager = gradients(layer(fused))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    again = checkpoint(layer, fused, use_reentrant=False)
    for other in (gradients(compiled(fused)), gradients(again)):
        for a, b in zip(other, eager, strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)


def test_operator_is_what_it_declares() -> None:
    """torch's own check of schema, fake implementation and autograd."""
    q, k = normal(1, 3, 2, 16).requires_grad_(), normal(1, 3, 1, 16).requires_grad_()
    torch.library.opcheck(
        torch.ops.leyden.rotary.default,
        (q, k, torch.arange(3, device=DEVICE)[None], 8, 10_000.0, False),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def test_both_forms_are_the_same_function() -> None:
    """The test's machine takes the kernel: without this, both forms could be the plain one."""
    assert runs_triton(torch.zeros(1, device=DEVICE))


def test_bad_input_is_refused_by_name() -> None:
    q, k = normal(1, 4, 2, 16), normal(1, 4, 1, 16)
    cases: list[tuple[type[Exception], str, dict[str, object]]] = [
        (ValueError, "rotary_dim: found 7", {"rotary_dim": 7}),
        (ValueError, "rotary_dim: found 18", {"rotary_dim": 18}),
        (ValueError, "rotary_dim: found 0", {"rotary_dim": 0}),
        (ValueError, "base: found 0.5", {"base": 0.5}),
        (TypeError, "positions: found torch.float32", {"positions": torch.zeros(4, device=DEVICE)}),
        (
            ValueError,
            r"positions: found shape \(3,\)",
            {"positions": torch.arange(3, device=DEVICE)},
        ),
        (ValueError, "positions: found device meta", {"positions": torch.arange(4, device="meta")}),
        (TypeError, "cu_seqlens: found torch.float32", {"cu_seqlens": torch.zeros(2)}),
        (ValueError, "cu_seqlens: found shape", {"cu_seqlens": torch.zeros(2, 2).long()}),
        (ValueError, r"found 0 \.\. 3", {"cu_seqlens": torch.tensor([0, 3])}),
        (ValueError, "not ascending", {"cu_seqlens": torch.tensor([0, 3, 2, 4])}),
        (
            ValueError,
            "expected one of them",
            {"cu_seqlens": torch.tensor([0, 4]), "positions": torch.arange(4)},
        ),
    ]
    for kind, message, arguments in cases:
        with pytest.raises(kind, match=message):
            rotary(q, k, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"batch 2 with cu_seqlens"):
        rotary(normal(2, 4, 2, 16), normal(2, 4, 1, 16), cu_seqlens=torch.tensor([0, 4]))
    with pytest.raises(TypeError, match=r"q: found torch\.float64"):
        rotary(q.double(), k)
    with pytest.raises(TypeError, match=r"k: found torch\.bfloat16"):
        rotary(q, k.bfloat16())
    with pytest.raises(ValueError, match=r"expected \[B, T, H, D\]"):
        rotary(q[0], k[0])
    with pytest.raises(ValueError, match="k: found device meta"):
        rotary(q, k.to("meta"))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_paper_shape(dtype: torch.dtype) -> None:
    fused = normal(1, 8192, 80, 128, dtype=dtype)
    positions = torch.arange(10_000_000 - 8192, 10_000_000, device=DEVICE)
    rotated = rotary(
        fused[:, :, :64], fused[:, :, 64:72], rotary_dim=64, base=1e7, positions=positions
    )
    for ours, x in zip(rotated, (fused[:, :, :64], fused[:, :, 64:72]), strict=True):
        assert_near(ours, exact(x, positions, 64, 1e7))


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
def test_more_than_two_to_the_31_elements() -> None:
    tokens = 270_000
    q = torch.randn(1, tokens, 64, 128, device=DEVICE, dtype=torch.bfloat16)
    k = q[:, :, :8]
    y, z = rotary(q, k, rotary_dim=64, base=1e7)
    last = torch.arange(tokens - 5, tokens, device=DEVICE)
    assert_near(y[:, -5:], exact(q[:, -5:], last, 64, 1e7))
    assert_near(z[:, -5:], exact(k[:, -5:], last, 64, 1e7))
