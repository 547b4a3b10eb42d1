"""Lightning attention against its recurrence in float64: values, gradients, strides, NaN."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.lightning import api, checks, lightning_attention
from kernels.lightning.slopes import no_decay
from tests.kernels.tensors.attention_cases import (
    DEVICE,
    DTYPES,
    Case,
    Results,
    case,
    cases,
    exact,
    kinds_of_slopes,
    near,
    outcome,
    plain_formula,
    random_cotangents,
    same,
)

COTANGENTS = ("both", "both", "o", "state")


@settings(max_examples=12, deadline=None)
@given(cases(longest=65, sizes=(16, 32)), st.sampled_from(COTANGENTS))
def test_equals_the_recurrence(x: Case, of: str) -> None:
    near(outcome(x, of), exact(x, of), x.q.dtype)


@pytest.mark.long
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from(COTANGENTS))
def test_equals_the_recurrence_widely(x: Case, of: str) -> None:
    near(outcome(x, of), exact(x, of), x.q.dtype)


@pytest.mark.parametrize(("K", "V"), [(96, 96), (64, 128), (128, 64), (16, 96)])
def test_head_sizes(K: int, V: int) -> None:
    x = case(70, K=K, V=V, H=1, dtype=torch.bfloat16)
    near(outcome(x), exact(x), torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_silu_of_what_is_given(dtype: torch.dtype) -> None:
    """By the formula in float64, SiLU not rounded there; large numbers, where it is 0 or x, too."""
    x = case([41, 0, 29], H=2, Hk=1, V=16, dtype=dtype, scale=0.5, activation="silu")
    x = x._replace(q=x.q * 40)  # of some, e^-x is infinite in float32
    near(outcome(x), plain_formula(x), dtype)
    assert outcome(x._replace(k=x.k.clone().fill_(-1e4), initial=None))["o"].eq(0).all()


def test_no_activation_is_the_default() -> None:
    x = case(20)
    default, none, silu = (
        outcome(x, form=partial(lightning_attention, output_final_state=True, **options))["o"]
        for options in ({}, {"activation": None}, {"activation": "silu"})
    )
    assert torch.equal(default, none)
    assert not torch.equal(default, silu)


@pytest.mark.parametrize("kind", list(kinds_of_slopes(2)))
def test_slopes(kind: str) -> None:
    x = case(129, slopes=kinds_of_slopes(2)[kind])
    near(outcome(x), exact(x), torch.float32)


@pytest.mark.parametrize("options", [{}, {"K": 64, "V": 64, "dtype": torch.bfloat16}])
@pytest.mark.parametrize("tokens", [0, [0], [0, 0, 3, 0], 1])
def test_no_tokens_hand_the_state_on(tokens: Any, options: Any) -> None:
    x = case(tokens, **options)
    found = outcome(x)
    near(found, exact(x), x.q.dtype)
    if not x.q.numel():
        assert x.initial is not None
        assert torch.equal(found["state"], x.initial)


def test_no_rows() -> None:
    x = case(7, B=0)
    assert outcome(x)["o"].shape == (0, 7, 2, 32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_plain_form_equals_the_kernels(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = case([40, 0, 19], H=2, Hk=1, dtype=dtype, scale=0.5)
    found = outcome(x)
    for module in (api, checks):
        monkeypatch.setattr(module, "runs_triton", lambda _: False)
    plain = outcome(x)
    near(found, {name: y.double() for name, y in plain.items()}, dtype)
    assert {name: y.dtype for name, y in plain.items()} == {n: y.dtype for n, y in found.items()}
    odd = case(9, K=3, V=5, activation="silu")  # sizes that only the plain form takes
    near(outcome(odd), exact(odd), torch.float32)


def test_a_sequence_in_two_parts() -> None:
    """f(T) = f(T2) after f(T1), the gradients too: the state's cotangent is what T2 hands back."""
    x = case(90, H=2, Hk=1)
    whole = outcome(x)
    q, k, v = (y.detach().requires_grad_() for y in (x.q, x.k, x.v))
    assert x.initial is not None
    state = initial = x.initial.requires_grad_()
    outputs = []
    for start, stop in ((0, 37), (37, 37), (37, 90)):
        o, state = lightning_attention(
            q[:, start:stop],
            k[:, start:stop],
            v[:, start:stop],
            x.slopes,
            initial_state=state,
            output_final_state=True,
        )
        outputs.append(o)
    o = torch.cat(outputs, 1)
    gradients = torch.autograd.grad((o, state), (q, k, v, initial), random_cotangents(x))
    names = ("o", "state", "dq", "dk", "dv", "dinitial")
    parts = dict(zip(names, (o.detach(), state.detach(), *gradients), strict=True))
    near(parts, {name: y.double() for name, y in whole.items()}, torch.float32)


def test_a_document_has_the_same_bits_alone() -> None:
    lengths = [70, 0, 129, 64]
    x = case(lengths, H=2, Hk=1, V=16, dtype=torch.bfloat16, scale=0.5, activation="silu")
    packed = outcome(x)
    do, d_state = random_cotangents(x)
    start = 0
    for n, length in enumerate(lengths):
        rows = slice(start, start + length)
        start += length
        assert x.initial is not None
        alone = x._replace(
            q=x.q[:, rows],
            k=x.k[:, rows],
            v=x.v[:, rows],
            initial=x.initial[n : n + 1],
            boundaries=None,
        )
        found = outcome(alone, cotangents=(do[:, rows], d_state[n : n + 1]))
        part = {
            name: y[n : n + 1] if name in ("state", "dinitial") else y[:, rows]
            for name, y in packed.items()
        }
        same(found, part)


@pytest.mark.parametrize("tokens", [100, [60, 40]])
def test_a_run_has_the_same_bits_again(tokens: Any) -> None:
    x = case(tokens, H=2, Hk=1, dtype=torch.bfloat16, activation="silu")
    same(outcome(x), outcome(x))


def _not_finite(found: Results, tokens: slice) -> dict[str, bool]:
    names = ("o", "dq", "dk", "dv")
    return {name: not bool(found[name][:, tokens].isfinite().all()) for name in names}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_what_is_not_finite_stays_in_its_document_and_shows(name: str, value: float) -> None:
    lengths = (30, 70, 30)
    x = case(lengths, H=1, slopes=no_decay(1), dtype=torch.bfloat16)
    getattr(x, name)[0, 50, 0, 3] = value
    found = outcome(x)
    for rows in (slice(0, 30), slice(100, 130)):
        assert not any(_not_finite(found, rows).values())
    for n, spoiled in enumerate((False, name != "q", False)):
        assert found["state"][n].isfinite().all() != spoiled
    assert found["dinitial"][[0, 2]].isfinite().all()
    assert _not_finite(found, slice(50, 51)) == {
        "o": True,
        "dq": name != "q",
        "dk": name != "k",
        "dv": name != "v",
    }
    # In a causal sum what is behind the token sees it; in that of dk and dv what is before it.
    behind, before = _not_finite(found, slice(99, 100)), _not_finite(found, slice(30, 31))
    assert behind["o"] == (name != "q")
    assert behind["dq"] == (name != "q")
    assert before["dk"] == (name == "q")
    assert before["dv"] == (name == "q")


def test_a_batch_keeps_what_is_not_finite_in_its_row_and_head() -> None:
    x = case(20, B=2, H=2)
    x.v[0, 3, 1] = float("nan")
    found = outcome(x)
    assert found["o"][0, 3:, 1].isnan().all()
    for name, y in found.items():
        head = 1 if name in ("state", "dinitial") else 2
        assert y[1].isfinite().all(), name
        assert y.select(head, 0).isfinite().all(), name


def _layouts(x: Case) -> dict[str, Case]:
    """The same numbers, lying differently in memory."""
    B, _, H, D = x.q.shape
    side_by_side = torch.cat([x.q, x.k, x.v], 3)  # [B, T, H, 3D]
    stacked = torch.stack([x.q, x.k, x.v], 2)  # [B, T, 3, H, D]
    of_states = torch.empty(H, D, D, B, device=DEVICE).permute(3, 0, 2, 1)
    assert x.initial is not None
    moved = {
        "side by side": dict(zip("qkv", side_by_side.tensor_split(3, 3), strict=True)),
        "stacked": dict(zip("qkv", stacked.unbind(2), strict=True)),
        "heads first": {
            n: getattr(x, n).transpose(1, 2).contiguous().transpose(1, 2) for n in "qkv"
        },
        "last dimension strided": {n: getattr(x, n).mT.contiguous().mT for n in "qkv"},
        "state": {"initial": of_states.copy_(x.initial)},
        "slopes": {"slopes": torch.stack([x.slopes, x.slopes + 1], 1)[:, 0]},
    }
    return {name: x._replace(**changes) for name, changes in moved.items()}


def test_tensors_are_read_where_they_lie() -> None:
    x = case(21, B=2, H=2, K=16, V=16, dtype=torch.bfloat16, activation="silu")
    expected = outcome(x)
    for name, moved in _layouts(x).items():
        assert any(not y.is_contiguous() for y in moved[:5] if y is not None), name
        same(outcome(moved), expected)


def test_expanded_tensors_and_strided_boundaries() -> None:
    x = case([12, 9], H=2, dtype=torch.bfloat16, activation="silu")
    one = x._replace(
        k=x.k[:, :1, :1].expand(-1, 21, 2, -1), slopes=x.slopes[:1].expand(2), v=x.v[:, :, :1]
    )
    assert x.boundaries is not None
    strided = one._replace(boundaries=torch.stack([x.boundaries, x.boundaries + 7], 1)[:, 0])
    strided = strided._replace(v=one.v.expand(-1, -1, 2, -1))
    dense = strided._replace(
        **{n: getattr(strided, n).contiguous() for n in ("k", "v", "slopes", "boundaries")}
    )
    same(outcome(strided), outcome(dense))


def test_cotangents_are_read_where_they_lie() -> None:
    x = case(21, B=2, H=2, Hk=1)
    do = torch.ones(1, 1, 1, 1, device=DEVICE).expand(2, 21, 2, 32)
    d_state = torch.ones(2, 2, 32, 16, device=DEVICE).mT
    expected = outcome(x, cotangents=(do.contiguous(), d_state.contiguous()))
    same(outcome(x, cotangents=(do, d_state)), expected)
    across = do.contiguous().transpose(1, 3).contiguous().transpose(1, 3)
    same(outcome(x, cotangents=(across, d_state)), expected)
