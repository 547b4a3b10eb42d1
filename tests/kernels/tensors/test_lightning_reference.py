"""Three forms of one sum, and their gradients, over lengths, boundaries, heads and decays."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lightning.reference import chunk_size, chunked, masked, recurrence
from kernels.lightning.slopes import alibi_slopes, no_decay
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms


def exact(found: object, expected: object) -> None:
    """Equal but for the rounding of float64."""
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


class Case(NamedTuple):
    """Inputs in float64 that need gradients."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    slopes: torch.Tensor
    initial: torch.Tensor
    boundaries: torch.Tensor | None
    chunk: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    shared, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    keys, values = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    boundaries = None
    if draw(st.booleans()):
        lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
        batch, tokens, states = 1, sum(lengths), len(lengths)
        dtype = draw(st.sampled_from([torch.int32, torch.int64]))
        boundaries = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=dtype)
    else:
        batch, tokens = draw(st.integers(1, 3)), draw(st.integers(0, 80))
        states = batch
    heads = shared * group
    slopes = draw(
        st.sampled_from([alibi_slopes(heads, 0, 2), alibi_slopes(heads, 1, 2), no_decay(heads)])
    )

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    return Case(
        leaf(batch, tokens, heads, keys),
        leaf(batch, tokens, shared, keys),
        leaf(batch, tokens, shared, values),
        slopes,
        leaf(states, heads, keys, values),
        boundaries,
        draw(st.sampled_from([1, 2, 7, 16, 32])),
    )


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([1.0, -0.3]))
def test_chunked_is_the_recurrence(case: Case, scale: float) -> None:
    """Outputs, final states and all gradients, of outputs and final states at once."""
    q, k, v, slopes, initial, boundaries, chunk = case
    expected = recurrence(
        q, k, v, slopes, initial_state=initial, cu_seqlens=boundaries, scale=scale
    )
    found = chunked(
        q, k, v, slopes, initial_state=initial, cu_seqlens=boundaries, scale=scale, chunk=chunk
    )
    exact(found, expected)
    weights = [torch.randn_like(x) for x in expected]
    leaves = (q, k, v, initial)
    gradients = [
        torch.autograd.grad(
            (o * weights[0]).sum() + (state * weights[1]).sum(), leaves, materialize_grads=True
        )
        for o, state in (found, expected)
    ]
    exact(*gradients)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_masked_is_the_recurrence(case: Case) -> None:
    found = masked(case.q, case.k, case.v, case.slopes, cu_seqlens=case.boundaries, scale=0.7)
    expected, _ = recurrence(
        case.q, case.k, case.v, case.slopes, cu_seqlens=case.boundaries, scale=0.7
    )
    exact(found, expected)


@settings(max_examples=20, deadline=None)
@given(cases())
def test_silu_comes_first_in_every_form(case: Case) -> None:
    q, k, v, slopes, initial, boundaries, chunk = case
    a, b, c = (x / (1 + torch.exp(-x)) for x in (q, k, v))
    common: dict[str, Any] = {"cu_seqlens": boundaries, "scale": 0.7}
    exact(masked(q, k, v, slopes, activation="silu", **common), masked(a, b, c, slopes, **common))
    common["initial_state"] = initial
    expected = recurrence(a, b, c, slopes, **common)
    exact(recurrence(q, k, v, slopes, activation="silu", **common), expected)
    exact(chunked(q, k, v, slopes, activation="silu", chunk=chunk, **common), expected)


def test_gradcheck() -> None:
    """Autograd against differences, packed and with heads that share k and v."""
    torch.manual_seed(0)
    shapes = ((1, 11, 2, 3), (1, 11, 1, 3), (1, 11, 1, 2), (3, 2, 3, 2))
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    boundaries = torch.tensor([0, 5, 5, 11])

    def form(*x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, v, initial = x
        return chunked(
            q,
            k,
            v,
            alibi_slopes(2, 0, 2),
            initial_state=initial,
            cu_seqlens=boundaries,
            chunk=4,
            activation="silu",
        )

    assert torch.autograd.gradcheck(form, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("slopes", [alibi_slopes(4, 0, 80), alibi_slopes(4, 78, 80), no_decay(4)])
def test_precision_of_outputs_states_and_gradients(
    dtype: torch.dtype, slopes: torch.Tensor, device: torch.device
) -> None:
    """Relative RMS error against float64, on the same rounded inputs."""
    torch.manual_seed(0)
    given_ = [torch.randn(2, 700, 4, 32, device=device).to(dtype) for _ in range(4)]
    states, of_states = torch.randn(2, 2, 4, 32, 32, device=device)
    both = []
    for wide in (dtype, torch.float64):
        q, k, v, of_o = (x.to(wide).detach().clone().requires_grad_() for x in given_)
        initial = states.to(torch.promote_types(wide, torch.float32)).clone().requires_grad_()
        o, final = chunked(q, k, v, slopes.to(device), initial_state=initial, scale=0.1)
        assert o.dtype == wide
        loss = (o * of_o.detach()).sum() + (final * of_states).sum()
        gradients = torch.autograd.grad(loss, (q, k, v, initial))
        both.append([o.detach(), final.detach(), *gradients])
    for found, expected in zip(*both, strict=True):
        assert rel_rms(found, expected) <= TOLERANCE[dtype]


def test_a_slow_decay_does_not_drift() -> None:
    """2^17 tokens at the slopes of MiniMax-Text-01's last lightning layer.

    Were the decay of a chunk rounded to float32, the state would be off by 7e-6.
    """
    torch.manual_seed(0)
    tokens, slopes = 1 << 17, alibi_slopes(64, 78, 80)[[57, 60, 62, 63]]
    k, v = torch.rand(2, 1, tokens, 4, 1)
    with torch.no_grad():
        _, state = chunked(k, k, v, slopes, chunk=64)
    back = torch.arange(tokens - 1, -1, -1, dtype=torch.float64)
    weight = torch.exp(-slopes.double() * back[:, None])
    exact = (weight * k[0, ..., 0] * v[0, ..., 0]).sum(0)
    assert rel_rms(state.flatten(), exact) < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 2**31))
def test_packed_is_each_sequence_alone(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    q, k, v = (torch.randn(1, sum(lengths), 2, 4) for _ in range(3))
    slopes = alibi_slopes(2, 0, 2)
    boundaries = torch.tensor([0, *torch.tensor(lengths).cumsum(0)])
    o, states = chunked(q, k, v, slopes, cu_seqlens=boundaries, chunk=8)
    parts = [torch.split(x, lengths, dim=1) for x in (q, k, v)]
    alone = [chunked(a, b, c, slopes, chunk=8) for a, b, c in zip(*parts, strict=True)]
    torch.testing.assert_close(o, torch.cat([x for x, _ in alone], dim=1))
    torch.testing.assert_close(states, torch.cat([x for _, x in alone]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_all_later_tokens_and_no_other_sequence(bad: float) -> None:
    q, k, v = (torch.ones(1, 60, 1, 2) for _ in range(3))
    k[0, 25, 0, 1] = bad
    o, states = chunked(q, k, v, no_decay(1), cu_seqlens=torch.tensor([0, 20, 50, 60]), chunk=8)
    assert not o[0, 25:50].isfinite().any()
    assert o[0, :20].isfinite().all()
    assert o[0, 50:].isfinite().all()
    assert states.isfinite().flatten(1).all(1).tolist() == [True, False, True]


def test_strong_decay_neither_overflows_nor_vanishes_into_nan() -> None:
    """exp(s·C) would be infinite from s·C = 89 on; no power of the decay above 1 is ever formed."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 300, 2, 4) for _ in range(3))
    slopes = torch.tensor([30.0, 1000.0])
    o, state = chunked(q, k, v, slopes, chunk=128)
    expected, last = recurrence(q, k, v, slopes)
    assert rel_rms(o, expected) < 1e-6
    assert rel_rms(state, last) < 1e-6


def test_any_strides() -> None:
    fused = torch.randn(2, 50, 3, 3 * 4).transpose(0, 1)
    q, k, v = torch.split(fused, 4, dim=-1)
    assert not q.is_contiguous()
    found = chunked(q, k, v, alibi_slopes(3, 0, 2))
    expected = chunked(q.contiguous(), k.contiguous(), v.contiguous(), alibi_slopes(3, 0, 2))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_memory_is_linear_in_length() -> None:
    """What a backward pass keeps: twice for twice the tokens, within a tenth."""

    def kept(tokens: int) -> int:
        sizes: dict[int, int] = {}

        def note(x: torch.Tensor) -> torch.Tensor:
            storage = x.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return x

        q, k, v = (torch.randn(1, tokens, 2, 16, requires_grad=True) for _ in range(3))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            o, _ = chunked(q, k, v, alibi_slopes(2, 0, 2))
        assert o.requires_grad
        return sum(sizes.values())

    assert kept(8192) <= 2.2 * kept(4096)


@pytest.mark.parametrize(
    ("longest", "head", "size"), [(1, 64, 1), (20, 64, 32), (512, 16, 32), (8192, 64, 64)]
)
def test_chunk_size(longest: int, head: int, size: int) -> None:
    assert chunk_size(longest, head, head) == size
    assert chunk_size(1 << 20, 256, 64) == 128


@pytest.mark.gpu
def test_float64_on_the_gpu_is_the_recurrence() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 300, 4, 64, dtype=torch.float64, device="cuda") for _ in range(3))
    slopes = alibi_slopes(4, 0, 2).cuda()
    found, expected = chunked(q, k, v, slopes), recurrence(q, k, v, slopes)
    exact(found, expected)


Q, S = torch.ones(1, 6, 4, 2), torch.ones(4)
BAD: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "three dimensions": (ValueError, {"q": Q[0]}),
    "integers": (TypeError, {"q": Q.int(), "k": Q.int(), "v": Q.int()}),
    "two dtypes": (TypeError, {"v": Q.double()}),
    "other length": (ValueError, {"k": Q[:, :5], "v": Q[:, :5]}),
    "other key size": (ValueError, {"k": Q[..., :1]}),
    "heads do not divide": (ValueError, {"k": Q[:, :, :3], "v": Q[:, :, :3]}),
    "slopes for other heads": (ValueError, {"slopes": S[:3]}),
    "integer slopes": (TypeError, {"slopes": S.int()}),
    "other state": (ValueError, {"initial_state": torch.ones(1, 4, 2, 3)}),
    "float boundaries": (TypeError, {"cu_seqlens": torch.tensor([0.0, 6.0])}),
    "falling boundaries": (ValueError, {"cu_seqlens": torch.tensor([0, 4, 3, 6])}),
    "boundaries short of T": (ValueError, {"cu_seqlens": torch.tensor([0, 5])}),
    "boundaries not from 0": (ValueError, {"cu_seqlens": torch.tensor([1, 6])}),
    "no sequence": (ValueError, {"cu_seqlens": torch.tensor([0])}),
    "another activation": (ValueError, {"activation": "gelu"}),
    "chunk of nothing": (ValueError, {"chunk": 0}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    error, change = BAD[name]
    arguments: dict[str, Any] = {"q": Q, "k": Q, "v": Q, "slopes": S, **change}
    with pytest.raises(error, match=r"found .* expected"):
        chunked(**arguments)


def test_packed_rows_must_be_one() -> None:
    x = torch.ones(2, 6, 4, 2)
    with pytest.raises(ValueError, match="batch of 2"):
        chunked(x, x, x, S, cu_seqlens=torch.tensor([0, 6]))
