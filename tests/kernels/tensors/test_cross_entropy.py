"""Fused cross-entropy against float64: losses and gradients, cotangents, odd values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.cross_entropy import cross_entropy, linear_cross_entropy, reference
from tests.kernels.tensors.heads import EVERYTHING, SMALL, close, doubled, gradients, problem
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

# NumPy warns of infinities where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_losses_and_gradients(
    dtype: torch.dtype,
    reduction: Any,
    options: dict[str, Any],
    device: torch.device,
    form: str,
) -> None:
    hidden, weight, targets = problem(14, 48, 150, dtype, device)
    weights = torch.rand(14, device=device).requires_grad_()
    cotangent = torch.randn(14 if reduction == "none" else (), device=device)
    h, w, by = wide = doubled(hidden, weight, weights)
    expected = reference.linear_cross_entropy(h, w, targets, weights=by, **options)
    if reduction != "none":
        expected = expected.sum()
    if reduction == "mean":
        expected = expected / torch.where(targets != -100, by, 0.0).sum()
    loss = linear_cross_entropy(
        hidden, weight, targets, weights=weights, reduction=reduction, workspace=SMALL, **options
    )
    assert loss.dtype == torch.float32
    close([loss], [expected], dtype)
    found = gradients((loss * cotangent).sum(), hidden, weight, weights)
    assert [g.dtype for g in found] == [dtype, dtype, torch.float32]
    close(found, gradients((expected * cotangent).sum(), *wide), dtype)
    with torch.no_grad():
        again = linear_cross_entropy(
            hidden, weight, targets, weights=weights, reduction=reduction, **options
        )
    close([again], [expected], dtype)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n, h, v = (data.draw(st.integers(1, most)) for most in (9, 20, 300))
    dtype = data.draw(st.sampled_from(DTYPES))
    hidden, weight, targets = problem(n, h, v, dtype, device, data.draw(st.integers(0, 99)))
    ignored = data.draw(st.sampled_from([-100, int(targets[0])]))
    weights = torch.randn(n, device=device)
    targets = torch.where(targets == -100, ignored, targets)
    options: dict[str, Any] = {
        name: value for name, value in EVERYTHING.items() if data.draw(st.booleans())
    }
    options |= {"ignore_index": ignored, "weights": weights}
    reduction: Any = data.draw(st.sampled_from(["none", "sum"]))
    workspace = data.draw(st.integers(1, 12 * v * n))
    wide = doubled(hidden, weight)
    expected = reference.linear_cross_entropy(wide[0], wide[1], targets, **options)
    cotangent = torch.randn(n if reduction == "none" else (), device=device)
    wanted = gradients((expected * cotangent).sum(), *wide)
    loss = linear_cross_entropy(
        hidden, weight, targets, reduction=reduction, workspace=workspace, **options
    )
    found = gradients((loss * cotangent).sum(), hidden, weight)
    # With few terms a sum may cancel, so errors are measured against what was added up.
    scale = 1 + expected.abs().sum()
    off = (loss.double().sum() - expected.sum()).abs() / scale
    assert float(off.detach()) <= TOLERANCE[dtype]
    for f, e in zip(found, wanted, strict=True):
        size = cotangent.abs().max() * weights.abs().max() * max(1, n)
        assert float((f.double() - e).square().mean().sqrt()) <= TOLERANCE[dtype] * float(
            e.square().mean().sqrt() + 0.1 * size
        )


@pytest.mark.parametrize("columns", [1, 127, 4096, 4097, 9001])
@pytest.mark.parametrize("layout", ["rows", "apart", "columns", "batch"])
def test_logits_of_any_layout(columns: int, layout: str, device: torch.device) -> None:
    g = torch.Generator().manual_seed(columns)
    logits = torch.randn(4, columns, generator=g).to(device)
    if layout == "apart":
        logits = torch.randn(4, 3 * columns + 5, generator=g).to(device)[:, 5 : columns + 5]
    elif layout == "columns":
        logits = torch.randn(columns, 4, generator=g).to(device).t()
    elif layout == "batch":
        logits = logits.reshape(2, 2, columns)
    logits = logits.detach().requires_grad_()
    targets = torch.randint(0, columns, logits.shape[:-1], generator=g).to(device)
    cotangent = torch.randn(targets.shape, generator=g).to(device)
    loss = cross_entropy(logits, targets, reduction="none", **EVERYTHING)
    flat = logits.reshape(-1, columns)
    expected = reference.cross_entropy(flat, targets.reshape(-1), **EVERYTHING)
    expected = expected.reshape(targets.shape)
    close([loss], [expected], torch.float32)
    (wanted,) = gradients((expected * cotangent).sum(), logits)
    (found,) = gradients((loss * cotangent).sum(), logits)
    if columns == 1:  # p - y is 0 but for smoothing's and the z-loss's exact terms
        assert float((found.double() - wanted).abs().max()) <= 1e-6
    else:
        close([found], [wanted], torch.float32)


def test_agrees_with_torch(device: torch.device, form: str) -> None:
    hidden, weight, targets = problem(14, 16, 150, torch.float32, device)
    wide = doubled(hidden, weight)
    theirs = torch.nn.functional.cross_entropy(wide[0] @ wide[1].T, targets, label_smoothing=0.2)
    wanted = gradients(theirs, *wide)
    for ours in (
        linear_cross_entropy(hidden, weight, targets, label_smoothing=0.2, workspace=SMALL),
        cross_entropy(hidden @ weight.T, targets, label_smoothing=0.2),
    ):
        close([ours], [theirs], torch.float32)
        close(gradients(ours, hidden, weight), wanted, torch.float32)


def test_per_token_cotangents_are_not_averaged(device: torch.device, form: str) -> None:
    """Weight's gradient under a cotangent that only one token has is that token's."""
    hidden, weight, targets = problem(12, 16, 150, torch.float32, device)
    loss = linear_cross_entropy(hidden, weight, targets, reduction="none", workspace=SMALL)
    alone = linear_cross_entropy(hidden[:1], weight, targets[:1], reduction="sum")
    cotangent = torch.zeros(12, device=device)
    cotangent[0] = 3.0
    by_hidden, by_weight = torch.autograd.grad(loss, (hidden, weight), cotangent)
    close([by_weight], [3 * gradients(alone, weight)[0]], torch.float32)
    assert torch.count_nonzero(by_hidden[1:]) == 0


def test_backward_twice(device: torch.device) -> None:
    hidden, weight, targets = problem(12, 16, 150, torch.bfloat16, device)
    loss = linear_cross_entropy(hidden, weight, targets)
    first = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
    second = torch.autograd.grad(2 * loss, (hidden, weight))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(2 * a, b)


def test_one_gradient_alone(device: torch.device) -> None:
    hidden, weight, targets = problem(12, 16, 150, torch.float32, device)
    for reduction in ("none", "sum"):
        both = linear_cross_entropy(hidden, weight, targets, reduction=reduction).sum()
        want = gradients(both, hidden, weight)
        only = linear_cross_entropy(hidden, weight.detach(), targets, reduction=reduction).sum()
        assert torch.equal(gradients(only, hidden)[0], want[0])
        only = linear_cross_entropy(hidden.detach(), weight, targets, reduction=reduction).sum()
        assert torch.equal(gradients(only, weight)[0], want[1])


def test_details(device: torch.device) -> None:
    hidden, weight, targets = problem(14, 16, 150, torch.float32, device)
    logits = hidden.double() @ weight.double().T
    seen = targets != -100
    lse = torch.where(seen, torch.logsumexp(logits, 1), 0.0)
    picked = logits.gather(1, targets.clamp_min(0)[:, None])[:, 0]
    log_prob = torch.where(seen, picked, 0.0) - lse
    for reduction in ("none", "mean"):
        _, details = linear_cross_entropy(
            hidden,
            weight,
            targets,
            reduction=reduction,
            label_smoothing=0.1,
            z_loss=1e-3,
            return_details=True,
        )
        close(details, (log_prob, lse), torch.float32)
        assert details.lse.requires_grad == (reduction == "none")
    _, details = linear_cross_entropy(
        hidden, weight, targets, reduction="none", return_details=True
    )
    cotangent = torch.randn(2, 14, device=device)
    close(
        torch.autograd.grad(details, (hidden, weight), cotangent.unbind()),
        torch.autograd.grad((log_prob, lse), (hidden, weight), cotangent.double().unbind()),
        torch.float32,
    )


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits(
    dtype: torch.dtype, softcap: float | None, device: torch.device, form: str
) -> None:
    """Logits of ±1e4 are kept in fp32; in bf16 they would be off by up to 32."""
    hidden, weight, targets = problem(16, 64, 150, dtype, device)
    with torch.no_grad():
        weight *= 1e4 / (hidden.detach() @ weight.T).abs().max()
    wide = doubled(hidden, weight)
    expected = reference.linear_cross_entropy(wide[0], wide[1], targets, softcap=softcap)
    loss = linear_cross_entropy(hidden, weight, targets, softcap=softcap, reduction="none")
    close([loss], [expected], dtype)
    # One ulp of a logit of 1e4 is 1e-3, and as much of its probability.
    limit = 1e-4 if dtype == torch.float32 else TOLERANCE[dtype]
    found = gradients(loss.sum(), hidden, weight)
    wanted = gradients(expected.sum(), *wide)
    for f, e in zip(found, wanted, strict=True):
        assert rel_rms(f, e) <= limit


def test_odd_values(device: torch.device, form: str) -> None:
    """Where log-softmax of torch is finite so is ours, and equal; elsewhere neither is."""
    inf, nan = math.inf, math.nan
    logits = torch.randn(8, 5000, generator=torch.Generator().manual_seed(0)).to(device)
    logits[0, :4500] = -inf  # the first block holds nothing
    logits[1, 7] = nan
    logits[2, 4999] = nan
    logits[3] = -inf
    logits[4, 3] = inf
    logits[5, 3] = -inf  # the target itself
    logits[6] = -inf
    logits[6, 9] = nan
    targets = torch.tensor([4600, 0, 0, 0, 0, 3, 0, 0], device=device)
    x = logits.clone().requires_grad_()
    loss = cross_entropy(x, targets, reduction="none")
    theirs = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="none")
    good = torch.isfinite(theirs)
    assert good.tolist() == [True, False, False, False, False, False, False, True]
    assert torch.equal(torch.isfinite(loss), good)
    assert float(loss[5]) == inf
    close([loss[good]], [theirs[good]], torch.float32)
    (found,) = gradients(loss.sum(), x)
    rows_finite = torch.isfinite(found).all(1)
    assert rows_finite.tolist() == [True, False, False, False, False, True, False, True]
    # An ignored row is not seen at all.
    x = logits.clone().requires_grad_()
    loss = cross_entropy(x, torch.full_like(targets, -100), reduction="sum", z_loss=1.0)
    assert float(loss) == 0
    assert torch.count_nonzero(gradients(loss, x)[0]) == 0


@pytest.mark.parametrize("where", ["hidden", "weight"])
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_nan_reaches_loss_and_gradients(where: str, reduction: Any, device: torch.device) -> None:
    hidden, weight, targets = problem(6, 16, 150, torch.bfloat16, device)
    with torch.no_grad():
        (hidden if where == "hidden" else weight)[0, 0] = math.nan
    loss = linear_cross_entropy(hidden, weight, targets, reduction=reduction).sum()
    assert torch.isnan(loss)
    by_hidden, by_weight = gradients(loss, hidden, weight)
    assert torch.isnan(by_hidden[0]).all()
    assert torch.isnan(by_weight).any()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("tokens", [0, 5])
def test_nothing_to_learn(reduction: Any, tokens: int, device: torch.device, form: str) -> None:
    hidden, weight, _ = problem(5, 16, 150, torch.bfloat16, device)
    hidden = hidden[:tokens].detach().requires_grad_()
    targets = torch.full((tokens,), -100, device=device)
    loss = linear_cross_entropy(hidden, weight, targets, reduction=reduction, z_loss=0.1)
    assert torch.count_nonzero(loss) == 0
    for gradient in gradients(loss.sum(), hidden, weight):
        assert torch.count_nonzero(gradient) == 0


def test_small_weights_survive_fp16(device: torch.device, form: str) -> None:
    """Cotangents of 1e-6 times probabilities of 1e-2 are far below what fp16 can hold."""
    hidden, weight, targets = problem(16, 16, 150, torch.float16, device)
    weights = torch.full((16,), 1e-6, device=device)
    for reduction in ("none", "sum"):
        loss = linear_cross_entropy(hidden, weight, targets, weights=weights, reduction=reduction)
        wide = doubled(hidden, weight)
        expected = reference.linear_cross_entropy(wide[0], wide[1], targets, weights=weights)
        scale = 2.0**20  # as a loss scaler's
        close(
            gradients(loss.sum() * scale, hidden, weight),
            gradients(expected.sum() * scale, *wide),
            torch.float16,
        )


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_fp32_head(reduction: Any, device: torch.device, form: str) -> None:
    """fp32 weights beside bf16 hidden: as if hidden had been widened, at fp32's precision."""
    hidden, weight, targets = problem(14, 16, 150, torch.float32, device)
    narrow = hidden.detach().bfloat16().requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    found = linear_cross_entropy(narrow, weight, targets, reduction=reduction, workspace=SMALL)
    same = linear_cross_entropy(wide, weight, targets, reduction=reduction, workspace=SMALL)
    assert torch.equal(found, same)
    a, b = gradients(found.sum(), narrow, weight), gradients(same.sum(), wide, weight)
    assert torch.equal(a[0], b[0].bfloat16())
    assert torch.equal(a[1], b[1])


def test_same_bits_every_time(device: torch.device, form: str) -> None:
    runs = []
    for _ in range(2):
        hidden, weight, targets = problem(14, 16, 150, torch.bfloat16, device)
        loss = linear_cross_entropy(hidden, weight, targets, workspace=SMALL)
        runs.append((loss, *gradients(loss, hidden, weight)))
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)
