"""States handed over: at any split, to the last bit of float64, and between conventions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lightning.reference import chunked, recurrence
from kernels.lightning.slopes import alibi_slopes
from kernels.lightning.states import (
    from_hugging_face,
    from_lasp,
    to_hugging_face,
    to_lasp,
)

HEADS, KEYS, VALUES = 4, 3, 5
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def exact(found: object, expected: object) -> None:
    """Equal but for the rounding of float64."""
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def tokens(seed: int, length: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int) -> torch.Tensor:
        return torch.randn(2, length, HEADS, size, dtype=torch.float64, generator=generator)

    return draw(KEYS), draw(KEYS), draw(VALUES)


def part(x: Tensors, start: int, end: int) -> Tensors:
    q, k, v = x
    return q[:, start:end], k[:, start:end], v[:, start:end]


def lasp_chunk(
    x: Tensors, slopes: torch.Tensor, kv: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One chunk in LASP's convention, from the equations that LASP prints, tokens from 0."""
    q, k, v = x
    n = q.shape[1]
    i = torch.arange(n, dtype=torch.float64)
    s = slopes.double()[:, None]
    within = torch.exp(-s[:, None] * (i[:, None] - i).clamp(min=0)).tril()
    o = torch.einsum("bihk,bjhk,hij,bjhv->bihv", q, k, within, v)
    o += torch.einsum("bihk,bhkv,hi->bihv", q, kv, torch.exp(-s * i))
    added = torch.einsum("bihk,bihv,hi->bhkv", k, v, torch.exp(-s * (n - i)))
    return o, torch.exp(-s * n)[..., None] * kv + added


def hugging_face_step(x: Tensors, slopes: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
    """One token in transformers' convention: its decode path's two lines."""
    q, k, v = (y[:, 0, :, None] for y in x)
    cache *= torch.exp(-slopes.double())[:, None, None]
    cache += k.transpose(-1, -2) @ v
    return (q @ cache).transpose(1, 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 70), st.integers(0, 8))
def test_prefill_then_decode(seed: int, prompt: int, new: int) -> None:
    """Tokens one by one after a prefill in chunks: the same outputs and state as all at once."""
    x, slopes = tokens(seed, prompt + new), alibi_slopes(HEADS, 1, 4)
    expected, last = recurrence(*x, slopes)
    o, state = chunked(*part(x, 0, prompt), slopes, chunk=16)
    exact(o, expected[:, :prompt])
    for t in range(prompt, prompt + new):
        o, state = recurrence(*part(x, t, t + 1), slopes, initial_state=state)
        exact(o[:, 0], expected[:, t])
    exact(state, last)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_chunk_to_chunk(seed: int, lengths: list[int]) -> None:
    x, slopes = tokens(seed, sum(lengths)), alibi_slopes(HEADS, 0, 4)
    expected, last = recurrence(*x, slopes)
    outputs, state, start = [], None, 0
    for length in lengths:
        o, state = chunked(*part(x, start, start + length), slopes, initial_state=state, chunk=16)
        outputs.append(o)
        start += length
    exact(torch.cat(outputs, dim=1), expected)
    exact(state, last)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
def test_between_lasp_and_ours(seed: int, first: int, second: int) -> None:
    """Either one starts where the other ended."""
    x, slopes = tokens(seed, first + second), alibi_slopes(HEADS, 0, 4)
    expected, last = recurrence(*x, slopes)
    before, after = part(x, 0, first), part(x, first, first + second)
    _, ours = chunked(*before, slopes)
    o, theirs = lasp_chunk(after, slopes, to_lasp(ours, slopes))
    exact(o, expected[:, first:])
    exact(from_lasp(theirs, slopes), last)

    _, theirs = lasp_chunk(before, slopes, torch.zeros_like(ours))
    o, ours = chunked(*after, slopes, initial_state=from_lasp(theirs, slopes))
    exact(o, expected[:, first:])
    exact(to_lasp(ours, slopes), to_lasp(last, slopes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 6))
def test_between_hugging_face_and_ours(seed: int, prompt: int, new: int) -> None:
    x, slopes = tokens(seed, prompt + new), alibi_slopes(HEADS, 0, 4)
    expected, last = recurrence(*x, slopes)
    _, state = chunked(*part(x, 0, prompt), slopes)
    cache = to_hugging_face(state).clone()
    for t in range(prompt, prompt + new):
        o = hugging_face_step(part(x, t, t + 1), slopes, cache)
        exact(o[:, 0], expected[:, t])
    exact(from_hugging_face(cache), last)


def test_a_mixed_up_convention_is_wrong_by_one_decay() -> None:
    """Why converters exist: a LASP state taken for ours counts e^-s of what it should."""
    x, slopes = tokens(0, 60), alibi_slopes(HEADS, 0, 4)
    expected, _ = recurrence(*x, slopes)
    _, state = recurrence(*part(x, 0, 30), slopes)
    alone, _ = recurrence(*part(x, 30, 60), slopes)
    mixed, _ = recurrence(*part(x, 30, 60), slopes, initial_state=to_lasp(state, slopes))
    carried, wrong = expected[:, 30:] - alone, mixed - alone
    decay = torch.exp(-slopes.double())[:, None]
    torch.testing.assert_close(wrong, decay * carried, rtol=1e-9, atol=1e-12)
    off = ((wrong - carried).square().sum((0, 1, 3)) / carried.square().sum((0, 1, 3))).sqrt()
    torch.testing.assert_close(off, 1 - decay[:, 0], rtol=1e-9, atol=0)
    assert float(off[0]) > 0.2


def test_round_trips_and_dtypes() -> None:
    state, slopes = torch.randn(2, HEADS, 3, 3), alibi_slopes(HEADS, 0, 4)
    torch.testing.assert_close(from_lasp(to_lasp(state, slopes), slopes), state)
    assert to_hugging_face(state, torch.bfloat16).dtype == torch.bfloat16
    assert from_hugging_face(to_hugging_face(state, torch.bfloat16)).dtype == torch.float32
    assert from_hugging_face(state.double()).dtype == torch.float64
    with pytest.raises(ValueError, match="heads"):
        to_lasp(state, slopes[:2])
