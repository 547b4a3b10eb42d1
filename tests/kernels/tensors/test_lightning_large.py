"""Lightning attention at lengths, sizes and norms that only a GPU reaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.lightning import lightning_attention
from kernels.lightning.pieces import Layout, choose_segment
from kernels.lightning.reference import chunked
from kernels.lightning.slopes import alibi_slopes, no_decay
from tests.kernels.tensors.attention_cases import (
    DEVICE,
    DTYPES,
    Case,
    Results,
    case,
    exact,
    near,
    outcome,
    random_cotangents,
    same,
)
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

pytestmark = [pytest.mark.gpu, pytest.mark.xdist_group("large")]

SLOWEST_AND_FASTEST = torch.tensor([3.9e-3 * 0.0127, 0.92])
MILLION = 1 << 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [100_003, MILLION])
@pytest.mark.parametrize("slopes", [SLOWEST_AND_FASTEST, no_decay(2)], ids=["decay", "none"])
def test_lengths_up_to_a_million(dtype: torch.dtype, tokens: int, slopes: torch.Tensor) -> None:
    x = case(tokens, H=2, K=64, V=64, slopes=slopes, dtype=dtype, scale=0.01)
    near(outcome(x), exact(x, form=chunked), dtype)


@pytest.mark.parametrize(
    ("K", "V", "dtype"),
    [
        *((128, 128, dtype) for dtype in DTYPES),
        *((256, 256, dtype) for dtype in DTYPES),
        (96, 96, torch.bfloat16),
        (96, 96, torch.float32),
        (256, 64, torch.bfloat16),
        (64, 256, torch.bfloat16),
    ],
)
def test_head_sizes(K: int, V: int, dtype: torch.dtype) -> None:
    for tokens in (3000, [700, 0, 1, 1999, 300]):
        x = case(tokens, H=4, Hk=2, K=K, V=V, dtype=dtype)
        near(outcome(x), exact(x, form=chunked), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_of_the_model(dtype: torch.dtype) -> None:
    """All 64 heads of the first, a middle and the last layer of eighty."""
    for layer in (0, 40, 78, 79):
        slopes = alibi_slopes(64, layer, 80)
        x = case(6000, H=64, K=128, V=128, slopes=slopes, dtype=dtype, activation="silu")
        near(outcome(x), exact(x, form=chunked), dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_large_norms(dtype: torch.dtype) -> None:
    """A hundred times the usual, of one sign, and never forgotten."""
    x = case(65_536, H=2, K=64, V=64, slopes=torch.tensor([0.0, 5e-5]), dtype=dtype)
    for y in (x.q, x.k, x.v):
        y.abs_().mul_(100)
    near(outcome(x), exact(x, form=chunked), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_thousand_documents(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(0, 300, (1000,), generator=generator)
    lengths[::37] = 0
    lengths[500] = 20_000
    x = case(lengths.tolist(), H=4, Hk=2, K=64, V=128, dtype=dtype, activation="silu")
    found = outcome(x)
    near(found, exact(x, form=chunked), dtype)
    same(outcome(x), found)


def _ends(x: Case, found: Results, window: int) -> None:
    """The first and last tokens of one long row whose heads forget within half of ``window``.

    Outputs and dq look back, dk and dv look ahead, so each window of tokens tells them on its own,
    but for its own first, or last, half.
    """
    do, d_state = random_cotangents(x)
    first, last = slice(None, window), slice(-window, None)
    near_half, far_half = slice(None, window // 2), slice(window // 2, None)
    for rows, seen in (
        (first, {"dk": near_half, "dv": near_half}),
        (last, {"o": far_half, "dq": far_half}),
    ):
        part = x._replace(q=x.q[:, rows].double(), k=x.k[:, rows].double(), v=x.v[:, rows].double())
        ending = d_state if rows is last else torch.zeros_like(d_state)
        wanted = outcome(part, form=chunked, cotangents=(do[:, rows], ending))
        for name in ("o", "dq", "dk", "dv"):
            inner = seen.get(name, slice(None))
            error = rel_rms(found[name][:, rows][:, inner], wanted[name][:, inner])
            assert error <= TOLERANCE[x.q.dtype], (name, rows)
    assert rel_rms(found["state"], wanted["state"]) <= TOLERANCE[x.q.dtype]


def test_offsets_beyond_31_bits() -> None:
    """64 heads of 128: the last tokens lie behind element 2^31, at 4.3 GB a tensor."""
    tokens = 262_144 + 4_097
    slopes = torch.linspace(0.05, 0.9, 64)
    x = case(tokens, H=64, K=128, V=128, slopes=slopes, initial=False, dtype=torch.bfloat16)
    assert x.q.numel() > 2**31
    _ends(x, outcome(x), 2048)


def test_offsets_beyond_31_bits_in_a_fused_projection() -> None:
    tokens = 90_001
    fused = torch.randn(1, tokens, 64, 3, 128, dtype=torch.bfloat16, device=DEVICE)
    assert fused.numel() > 2**31
    q, k, v = fused.unbind(3)
    slopes = torch.linspace(0.05, 0.9, 64, device=DEVICE)
    x = Case(q, k, v, slopes, None, None, 1.0)
    _ends(x, outcome(x), 2048)


def test_states_beyond_31_bits() -> None:
    """2,100 documents of 64 heads: the states at their ends lie behind element 2^31."""
    x = case([1] * 2_100, H=64, K=128, V=128, initial=False, dtype=torch.bfloat16)
    _, states = lightning_attention(
        x.q, x.k, x.v, x.slopes, cu_seqlens=x.boundaries, output_final_state=True
    )
    assert states.numel() > 2**31
    expected = x.k[0, -1].double()[..., None] * x.v[0, -1].double()[..., None, :]
    assert rel_rms(states[-1], expected) <= TOLERANCE[torch.bfloat16]


def _peak(x: Case) -> tuple[int, int]:
    """Bytes at the peak of forward and backward, and of inputs, results and carried states."""
    inputs = q, k, v = [y.detach().requires_grad_() for y in (x.q, x.k, x.v)]
    do, _ = random_cotangents(x)
    lightning_attention(q, k, v, x.slopes, cu_seqlens=x.boundaries)  # compiles
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    o = lightning_attention(q, k, v, x.slopes, cu_seqlens=x.boundaries)
    assert isinstance(o, torch.Tensor)
    gradients = torch.autograd.grad(o, inputs, do)
    torch.cuda.synchronize()
    used = torch.cuda.max_memory_allocated() - before
    tensors = [*inputs, do]
    given = sum(y.nbytes for y in tensors)
    returned = sum(y.nbytes for y in (o, *gradients))
    B, T, H, K = x.q.shape
    segments = -(-T // choose_segment(Layout(B, T, H, x.boundaries is not None)))
    state = B * segments * H * K * x.v.shape[3] * 4
    return given + used, given + returned + state


@pytest.mark.parametrize(
    ("B", "tokens", "heads"), [(8, 8192, 64), (1, 65_536, 64), (1, MILLION, 8)]
)
def test_memory(B: int, tokens: int, heads: int) -> None:
    """No more than a tenth above inputs, results and one state for each group of chunks."""
    x = case(tokens, B, heads, K=128, V=128, dtype=torch.bfloat16, initial=False)
    used, least = _peak(x)
    assert used <= 1.1 * least


@pytest.mark.parametrize("tokens", [65_536, [20_000, 0, 1, 45_535]])
def test_a_run_has_the_same_bits_again(tokens: Any) -> None:
    x = case(tokens, H=8, Hk=2, K=128, V=128, dtype=torch.bfloat16)
    first = outcome(x)
    for _ in range(3):
        same(outcome(x), first)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_tokens(dtype: torch.dtype) -> None:
    for tokens in (0, [0], [0, 0]):
        x = case(tokens, H=2, K=128, V=128, dtype=dtype)
        found = outcome(x)
        assert x.initial is not None
        assert torch.equal(found["state"], x.initial)
        assert torch.equal(found["dinitial"], random_cotangents(x)[1])
