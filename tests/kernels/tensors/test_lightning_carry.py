"""Sequences cut into pieces: the states at the cuts, and that cutting changes no result."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.lightning import carry as module
from kernels.lightning import lightning_attention, passes
from kernels.lightning.carry import HORIZON_BITS, carry
from kernels.lightning.horizon import horizon, tail
from kernels.lightning.pieces import Layout, cut
from kernels.lightning.reference import chunked, recurrence
from kernels.lightning.slopes import alibi_slopes, no_decay
from kernels.lightning.trials import reference
from tests.kernels.tensors.attention_cases import (
    DEVICE,
    Case,
    case,
    cases,
    cut_every,
    exact,
    near,
    outcome,
    same,
)
from tests.kernels.tensors.numerics import rel_rms


@settings(max_examples=5, deadline=None)
@given(cases(longest=33, sizes=(16, 32)), st.sampled_from([16, 32]))
def test_cut_equals_the_recurrence(x: Case, segment: int) -> None:
    with cut_every(segment):
        near(outcome(x), exact(x), x.q.dtype)


@pytest.mark.long
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cases(longest=65), st.sampled_from([16, 32, 48, 64]), st.sampled_from(["both", "o", "state"])
)
def test_cut_equals_the_recurrence_widely(x: Case, segment: int, of: str) -> None:
    with cut_every(segment):
        near(outcome(x, of), exact(x, of), x.q.dtype)


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("tokens", [[32, 0, 16, 40, 0], [64], 64, 33])
def test_boundaries_at_cuts(tokens: Any, initial: bool) -> None:
    x = case(tokens, H=1, V=16, initial=initial, scale=-0.5)
    with cut_every(16):
        near(outcome(x), exact(x), torch.float32)


MANY = [3, 13, 0, 0, 5, 11, 16, 0, 1, 1, 1, 40, 0, 5, 1, 1, 31, 0, 0]
"""Lengths of documents, most of them short; some are empty or end at multiples of 16."""


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("of", ["both", "o"])
def test_many_short_documents(of: str, initial: bool) -> None:
    """Last pieces share their numbers with the first ones of the next documents."""
    x = case(MANY, H=2, Hk=1, V=16, initial=initial, scale=0.5)
    with cut_every(16):
        near(outcome(x, of), exact(x, of), torch.float32)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("final", [False, True])
def test_final_states_change_no_state_at_a_cut(reverse: bool, final: bool) -> None:
    """What last pieces add waits in them, however they lie in memory."""
    x = case(MANY, H=2, V=16)
    ends = [0, *accumulate(MANY)]
    pieces = cut(Layout(len(MANY), ends[-1], 2, True), 16, x.boundaries)
    behind = torch.empty(len(MANY), 2, 16, 16, device=DEVICE).mT
    found = carry(
        x.k, x.v, x.slopes, pieces, x.boundaries,
        reverse=reverse, scale=1.0, initial=x.initial, final=behind if final else None,
    )  # fmt: skip
    walked = reference.walk(
        x.k, x.k, x.v, x.slopes, reference.parts(ends[-1], 16, boundaries=ends),
        reverse=reverse, scale=1.0, initial=x.initial,
    )  # fmt: skip
    within = walked.carried.isfinite().all((1, 2, 3))
    assert within.tolist() == [t not in ends for t in range(16, ends[-1] + 1, 16)]
    torch.testing.assert_close(found[within].double(), walked.carried[within], rtol=1e-5, atol=1e-5)
    if final:
        torch.testing.assert_close(behind.double(), walked.final, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "B", "cuts"), [(MANY, 1, 8), (64, 3, 9), (65, 1, 4), (16, 2, 0)]
)
def test_a_state_is_kept_for_each_cut_however_many_documents(
    tokens: Any, B: int, cuts: int
) -> None:
    x = case(tokens, B, H=2, V=32, initial=False)
    made: list[int] = []

    def empty(size: tuple[int, ...], **options: Any) -> torch.Tensor:
        made.append(size[0])
        return new(size, **options)

    new = torch.empty
    with cut_every(16), pytest.MonkeyPatch.context() as patch:
        options = (x.q, x.k, x.v, x.slopes, None, x.boundaries, 1.0, False, False)
        passes.attend(*options)  # what the sentinel allocates at first use does not count
        patch.setattr(torch, "empty", empty)
        assert passes.attend(*options).carried.shape == (cuts, 2, 16, 32)
        assert passes.empty_results(x.q, x.v, x.boundaries, False).carried.shape[0] == cuts
    # The table of a packed row, the states at the cuts, and what pieces add to them.
    assert made[1 if x.boundaries is not None else 0 :] == ([cuts, cuts] if cuts else [])


@pytest.mark.parametrize("of", ["o", "state"])
def test_one_cotangent_of_a_cut_sequence(of: str) -> None:
    x = case(50, H=1, V=16)
    with cut_every(16):
        near(outcome(x, of), exact(x, of), torch.float32)


def test_a_cut_run_has_the_same_bits_again() -> None:
    x = case([40, 20], H=2, Hk=1, K=16, V=16, dtype=torch.bfloat16)
    with cut_every(32):
        same(outcome(x), outcome(x))


def test_sixty_four_tokens_a_tile() -> None:
    """The tiles of long sequences, ragged ones among them."""
    x = case([200, 70], H=1, dtype=torch.bfloat16)
    with cut_every(128):
        near(outcome(x), exact(x), torch.bfloat16)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_states_at_the_cuts(reverse: bool, silu: bool) -> None:
    """Forward the state of the tokens to the left, in reverse the cotangent of that."""
    x = case(50, B=2, H=2, K=16, V=32, slopes=alibi_slopes(2, 0, 80))
    pieces = cut(Layout(2, 50, 2, False), 16, None)
    final = torch.empty(2, 2, 16, 32, device=DEVICE)
    assert x.initial is not None
    found = carry(
        x.k, x.v, x.slopes, pieces, None,
        reverse=reverse, scale=0.5 if reverse else 1.0, initial=x.initial, final=final,
        activated=(silu, silu and not reverse),
    ).view(2, 3, 2, 16, 32)  # fmt: skip
    decay = torch.exp(-x.slopes.double())[:, None, None]
    k, v = x.k.double(), x.v.double()
    if silu:  # in reverse v is the cotangent of the outputs
        k, v = torch.nn.functional.silu(k), v if reverse else torch.nn.functional.silu(v)
    state = x.initial.double()
    expected: list[torch.Tensor] = [None] * 3  # type: ignore[list-item]
    for t in range(49, -1, -1) if reverse else range(50):
        if reverse and t % 16 == 15:
            expected[t // 16] = state
        if not reverse and t and t % 16 == 0:
            expected[t // 16 - 1] = state
        added = k[:, t, :, :, None] * v[:, t, :, None]
        state = decay * (state + 0.5 * added) if reverse else decay * state + added
    torch.testing.assert_close(found.double(), torch.stack(expected, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final.double(), state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slope", [0.35, 0.917, 2.0, 30.0])
@pytest.mark.parametrize("reverse", [False, True])
def test_only_tokens_within_the_horizon_are_read(
    slope: float, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 32)
    slopes = torch.full((1,), slope, device=DEVICE)
    reach = int(horizon(slopes, HORIZON_BITS))
    for distance in (reach - 1, reach, reach + 1):
        if distance >= 64:
            continue
        x = case(128, H=1, V=16, slopes=slopes)
        x.v[0, 64 + distance if reverse else 63 - distance] = float("nan")
        pieces = cut(Layout(1, 128, 1, False), 64, None)
        found = carry(x.k, x.v, slopes, pieces, None, reverse=reverse, scale=1.0)
        assert found.shape == (1, 1, 16, 16)
        read = bool(found.isnan().any())
        if distance != reach:  # where it is an exact power of two either is right
            assert read == (distance < reach)


@pytest.mark.parametrize("slope", [0.35, 0.917, 2.0])
def test_what_is_left_out_is_within_the_bound(slope: float) -> None:
    """The worst input: all keys alike, all values alike, so that nothing cancels."""
    slopes = torch.full((1,), slope, device=DEVICE)
    x = case(128, H=1, slopes=slopes, initial=False)
    for y in (x.q, x.k, x.v):
        y.fill_(0.5)
    whole = outcome(x)
    with cut_every(64):
        parts = outcome(x)
    K, V = x.k.shape[3], x.v.shape[3]
    weight = float(tail(slopes, horizon(slopes, HORIZON_BITS)))
    norms = 0.5 * math.sqrt(K) * 0.5 * math.sqrt(V)
    wanted = exact(x)
    for name, factor in (("o", 0.5 * math.sqrt(K)), ("state", 1.0)):
        largest = float(wanted[name].abs().max())
        ulp = largest * torch.finfo(torch.float32).eps
        difference = float((whole[name].double() - parts[name].double()).abs().max())
        # Rounding of the two, and what the bound allows to be missing.
        assert difference <= 4 * ulp + factor * norms * weight
    near(parts, wanted, torch.float32)


def test_a_far_state_is_still_added_when_a_head_never_forgets() -> None:
    x = case(96, H=2, slopes=torch.tensor([0.0, 4e-8]), initial=True)
    with cut_every(16):
        near(outcome(x), exact(x), torch.float32)


@pytest.mark.parametrize("tokens", [8, 17, 33])
def test_a_state_that_fades_keeps_its_digits(tokens: int) -> None:
    """Through ``λ^T - 1`` in float32 what is left would have an error of 2^-25 of what was."""
    x = case(tokens, H=1, V=16, slopes=torch.tensor([0.4]))
    for y in (x.k, x.v):
        y.zero_()
    for whole in (True, False):
        with cut_every(1024 if whole else 16):
            found, wanted = outcome(x, "state"), exact(x, "state")
        for name in ("state", "dinitial"):
            assert rel_rms(found[name], wanted[name]) <= 1e-5, name


def test_nan_behind_a_cut() -> None:
    """All tokens behind it show it in a head that does not decay; other documents never."""
    x = case([20, 60, 20], H=2, slopes=torch.tensor([0.0, 2.0]))
    x.k[0, 34] = float("nan")
    with cut_every(16):
        found = outcome(x)
    assert found["o"][0, 34:80, 0].isnan().all()
    assert found["o"][0, 34:48, 1].isnan().all()
    assert found["o"][0, 48:80, 1].isfinite().all()  # at the cut its weight is below 2^-24
    assert found["state"][1, 0].isnan().all()
    assert found["dq"][0, 34:80, 0].isnan().all()
    for name in ("o", "dq", "dk", "dv"):
        assert found[name][0, :20].isfinite().all(), name
        assert found[name][0, 80:].isfinite().all(), name
    for name in ("state", "dinitial"):
        assert found[name][[0, 2]].isfinite().all(), name


def test_the_state_of_a_long_sum_without_decay() -> None:
    """Numbers of one sign add up: each cut rounds once, and no rounding leans to one side."""
    tokens = 1024 if DEVICE.type == "cpu" else 1 << 17
    x = case(tokens, H=1, slopes=no_decay(1), initial=False)
    for y in (x.q, x.k, x.v):
        y.abs_()
    with cut_every(256, part=128):
        o, state = lightning_attention(*x[:4], output_final_state=True)
    if DEVICE.type == "cpu":
        wanted, last = recurrence(*x[:4])
    else:
        wanted, last = chunked(x.q.double(), x.k.double(), x.v.double(), x.slopes)
    near({"o": o, "state": state}, {"o": wanted, "state": last}, torch.float32)
