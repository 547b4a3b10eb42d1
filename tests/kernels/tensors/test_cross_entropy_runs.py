"""Fused cross-entropy in use: memory, refusals, compilers, ranks, and the real vocabulary."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from kernels.cross_entropy import cross_entropy, linear, linear_cross_entropy, ops, reference, rows
from kernels.cross_entropy.losses import Terms
from kernels.cross_entropy.parallel import Shard, combined
from tests.kernels.tensors.heads import EVERYTHING, SMALL, close, doubled, gradients, problem
from tests.kernels.tensors.process_group import run_ranks

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")


@given(
    tokens=st.integers(0, 200_000),
    columns=st.integers(1, 300_000),
    itemsize=st.sampled_from([2, 4]),
    workspace=st.integers(1, 1 << 33),
)
def test_plan_keeps_its_bound(tokens: int, columns: int, itemsize: int, workspace: int) -> None:
    for with_gradients in (False, True):
        sizes = linear.plan(tokens, columns, itemsize, workspace, with_gradients)
        assert 1 <= sizes.tile <= sizes.chunk
        stored = sizes.chunk * columns * itemsize if with_gradients else 0
        least = 3 * max(itemsize, 4) * columns  # a single token may need more than was given
        assert stored + sizes.tile * columns * 4 <= max(workspace, least)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_logits_stay_in_the_workspace(
    reduction: Any, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    widest = 0
    original = rows.gradient

    def watched(logits: torch.Tensor, *rest: Any) -> None:
        nonlocal widest
        out = rest[-1]
        held = logits.untyped_storage().nbytes() + out.untyped_storage().nbytes()
        widest = max(widest, held)
        original(logits, *rest)

    monkeypatch.setattr(rows, "gradient", watched)
    hidden, weight, targets = problem(20, 16, 150, torch.bfloat16, device)
    loss = linear_cross_entropy(hidden, weight, targets, reduction=reduction, workspace=SMALL)
    gradients(loss.sum(), hidden, weight)
    assert 0 < widest <= SMALL < 20 * 150 * 2


def test_refusals(device: torch.device) -> None:
    hidden, weight, targets = problem(6, 16, 150, torch.float32, device)

    def refused(kind: type[Exception], match: str, *args: Any, **options: Any) -> None:
        with pytest.raises(kind, match=match):
            linear_cross_entropy(*(args or (hidden, weight, targets)), **options)

    refused(TypeError, "hidden: found torch.int64", hidden.long(), weight, targets)
    refused(TypeError, "hidden: found torch.float64", hidden.double(), weight, targets)
    refused(TypeError, "weight: found torch.bfloat16", hidden, weight.bfloat16(), targets)
    refused(ValueError, "weight: found shape", hidden, weight[:, :8], targets)
    refused(ValueError, "weight: found shape", hidden, weight[:0], targets)
    refused(ValueError, "targets: found shape", hidden, weight, targets[:3])
    refused(TypeError, "targets: found torch.float32", hidden, weight, targets.float())
    refused(ValueError, "weights: found shape", weights=torch.ones(3, device=device))
    refused(TypeError, "weights: found torch.int64", weights=torch.ones_like(targets))
    refused(ValueError, "reduction", reduction="avg")
    refused(ValueError, "label_smoothing", label_smoothing=1.0)
    refused(ValueError, "z_loss", z_loss=-1.0)
    refused(ValueError, "softcap", softcap=0.0)
    refused(ValueError, "logit_scale", logit_scale=math.nan)
    refused(ValueError, "vocab_size: found 150 entries on each of 1 ranks", vocab_size=300)
    with pytest.raises(TypeError, match=r"logits: found torch\.float64"):
        cross_entropy(hidden.double(), targets)
    if device.type == "cpu":
        for wrong in (150, -1):
            bad = targets.clone()
            bad[4] = wrong
            refused(
                ValueError, rf"found {wrong} at token 4, expected 0\.\.149", hidden, weight, bad
            )
            with torch.no_grad():
                refused(ValueError, "at token 4", hidden, weight, bad, reduction="none")
            with pytest.raises(ValueError, match="at token 4"):
                cross_entropy(hidden @ weight.T, bad)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_compile_and_checkpoint(reduction: Any, device: torch.device) -> None:
    hidden, weight, targets = problem(12, 16, 150, torch.float32, device)
    cotangent = torch.randn(12 if reduction == "none" else (), device=device)

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = linear_cross_entropy(
            2 * hidden, weight, targets, reduction=reduction, workspace=SMALL, **EVERYTHING
        )
        return (found * cotangent).sum()

    want = gradients(loss(hidden, weight), hidden, weight)
    for dynamic in (False, True) if reduction == "mean" else (False,):
        torch._dynamo.reset()
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=dynamic)
        close(gradients(compiled(hidden, weight), hidden, weight), want, torch.float32)
    for reentrant in (False, True):
        again = checkpoint(loss, hidden, weight, use_reentrant=reentrant)
        again.backward()
        for leaf, expected in zip((hidden, weight), want, strict=True):
            assert leaf.grad is not None
            assert torch.equal(leaf.grad, expected)
        hidden.grad = weight.grad = None


def test_operators_are_well_formed(device: torch.device) -> None:
    hidden, weight, targets = problem(3, 8, 20, torch.float32, device)
    weights = torch.ones(3, device=device)
    for op, args in (
        (ops.logit_statistics, (weight.detach()[:3].requires_grad_(), targets % 8)),
        (ops.linear_statistics, (hidden, weight, targets)),
    ):
        rest = (-100, 1.0, 0.0, True, "") + ((True, 4096) if op is ops.linear_statistics else ())
        torch.library.opcheck(op, (*args, *rest))
    torch.library.opcheck(
        ops.linear_total,
        (hidden, weight, targets, weights, -100, 0.1, 1e-3, 1.0, 0.0, "", True, 4096, True, True),
    )
    torch.library.opcheck(ops.rescaled, (weights, torch.tensor(2.0), torch.bfloat16))


def test_autocast_changes_nothing(device: torch.device) -> None:
    hidden, weight, targets = problem(12, 16, 150, torch.float32, device)
    want = linear_cross_entropy(hidden, weight, targets)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, targets)
    assert torch.equal(found, want)


def test_vocabulary_in_pieces(device: torch.device) -> None:
    """Three ranks played in one process: pieces of statistics combine, gradients are slices."""
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 150, generator=g).to(device)
    logits[2, 50:100] = -math.inf  # a whole piece
    targets = torch.randint(0, 50, (7,), generator=g).to(device)
    targets[1::3] += 100
    curve = rows.Curve(0.7, 3.0)
    pieces = [logits[:, at : at + 50] for at in (0, 50, 100)]
    parts = [rows.statistics(p, targets, curve, 50 * r, True) for r, p in enumerate(pieces)]
    whole = rows.statistics(logits, targets, curve, 0, True)
    together = combined(torch.stack(parts))
    close(together[:2], whole[:2], torch.float32)
    assert torch.allclose(together[2], whole[2], equal_nan=True, atol=1e-4)
    given_ = Terms(150, 0.1, 1e-3).derivatives(together, torch.rand(7, device=device))
    out, expected = torch.empty_like(logits), torch.empty_like(logits)
    rows.gradient(logits, targets, whole[0], given_, curve, 0, expected)
    for r, p in enumerate(pieces):
        piece = torch.empty_like(p)
        rows.gradient(p, targets, together[0], given_, curve, 50 * r, piece)
        out[:, 50 * r : 50 * r + 50] = piece
    close([out], [expected], torch.float32)
    # Pieces that all hold the whole row, as when gathered logits are taken for a rank's own.
    double = combined(torch.stack([whole, whole]))
    assert torch.allclose(double[0] - whole[0], torch.full((7,), math.log(2.0), device=device))


def _rank(rank: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        f"file://{folder}/meet",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=100),
    )
    group = dist.group.WORLD
    hidden, weight, targets = problem(14, 16, 150, torch.float32, torch.device("cpu"))
    own = weight.detach()[75 * rank : 75 * rank + 75].clone().requires_grad_()
    found: dict[str, Any] = {}
    for reduction in ("none", "mean"):
        for reduce in (True, False):
            loss, details = linear_cross_entropy(
                hidden,
                own,
                targets,
                reduction=reduction,
                group=group,
                vocab_size=150,
                reduce_hidden_grad=reduce,
                workspace=SMALL,
                return_details=True,
                **EVERYTHING,
            )
            scale = torch.arange(14) if reduction == "none" else torch.tensor(3.0)
            found[f"{reduction}-{reduce}"] = (
                loss.detach(),
                *(d.detach() for d in details),
                *gradients((loss * scale).sum(), hidden, own),
            )
    logits = (hidden @ own.T).detach().requires_grad_()
    loss = cross_entropy(logits, targets, group=group, **EVERYTHING)
    found["logits"] = (loss.detach(), *gradients(loss, logits))
    try:
        linear_cross_entropy(hidden, weight, targets, group=group, vocab_size=150)
    except ValueError as error:
        found["error"] = str(error)
    unchecked = linear_cross_entropy(hidden, weight, targets % 150, group=group)
    found["trap"] = float(unchecked - linear_cross_entropy(hidden, weight, targets % 150))
    name = group.group_name if group is not None else ""
    found["shard"] = Shard.of(name)[1:]
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.xdist_group("gloo")
def test_two_ranks(tmp_path: Path) -> None:
    """Losses and *gradients* of two gloo ranks are those of one; each loss is whole."""
    run_ranks(2, _rank, str(tmp_path))
    *inputs, targets = problem(14, 16, 150, torch.float32, torch.device("cpu"))
    hidden, weight = doubled(*inputs)
    first, second = (torch.load(tmp_path / f"{r}.pt") for r in range(2))
    for reduction in ("none", "mean"):
        loss = reference.linear_cross_entropy(hidden, weight, targets, **EVERYTHING)
        scale = torch.arange(14) if reduction == "none" else torch.tensor(3.0)
        loss = loss if reduction == "none" else loss.sum() / (targets != -100).sum()
        by_hidden, by_weight = gradients((loss * scale).sum(), hidden, weight)
        for reduce in (True, False):
            key = f"{reduction}-{reduce}"
            a, b = first[key], second[key]
            for x, y in zip(a[:3], b[:3], strict=True):
                assert torch.equal(x, y)  # the same bits on every rank
            close([a[0]], [loss], torch.float32)
            close([torch.cat([a[4], b[4]])], [by_weight], torch.float32)
            close([a[3] if reduce else a[3] + b[3]], [by_hidden], torch.float32)
            if reduce:
                assert torch.equal(a[3], b[3])
    logits = (hidden @ weight.T).detach().requires_grad_()
    loss = reference.cross_entropy(logits, targets, **EVERYTHING).sum() / (targets != -100).sum()
    found = torch.cat([first["logits"][1], second["logits"][1]], 1)
    close([first["logits"][0], found], [loss, *gradients(loss, logits)], torch.float32)
    assert first["shard"] == (0, 2)
    assert second["shard"] == (1, 2)
    assert "150 entries on each of 2 ranks" in first["error"]
    assert first["trap"] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_large_vocabulary(reduction: Any) -> None:
    """8192 tokens, H = 2048, the vocabulary of MiniMax-01, within the stated memory."""
    device = torch.device("cuda")
    hidden, weight, targets = problem(8192, 2048, 200_064, torch.bfloat16, device)
    cotangent = torch.rand(8192 if reduction == "none" else (), device=device) + 0.5
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = linear_cross_entropy(hidden, weight, targets, reduction=reduction)
    found = gradients((loss * cotangent).sum(), hidden, weight)
    torch.cuda.synchronize()
    used = torch.cuda.max_memory_allocated() - before
    waiting = 4 * (weight.numel() + hidden.numel())
    returned = 2 * (weight.numel() + hidden.numel())
    assert used <= linear.WORKSPACE["cuda"] + waiting + returned + (64 << 20)

    losses, by_hidden = [], []
    by_weight = torch.zeros(weight.shape, dtype=torch.float64, device=device)
    for at in range(0, 8192, 1024):
        part = slice(at, at + 1024)
        h, w = (x.detach().double().requires_grad_() for x in (hidden[part], weight))
        expected = reference.linear_cross_entropy(h, w, targets[part])
        scale = cotangent[part] if reduction == "none" else cotangent
        gradient = gradients((expected * scale).sum(), h, w)
        losses.append(expected.detach())
        by_hidden.append(gradient[0])
        by_weight += gradient[1]
    wanted = torch.cat(losses)
    close([loss], [wanted if reduction == "none" else wanted.sum()], torch.bfloat16)
    close(found, [torch.cat(by_hidden), by_weight], torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_memory_does_not_grow_with_tokens(reduction: Any) -> None:
    """65,536 tokens, whose fp32 logits would be 52 GB."""
    hidden, weight, targets = problem(65_536, 256, 200_064, torch.bfloat16, torch.device("cuda"))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = linear_cross_entropy(hidden, weight, targets, reduction=reduction).sum()
    gradients(loss, hidden, weight)
    used = torch.cuda.max_memory_allocated() - before
    kept = 6 * (weight.numel() + hidden.numel())  # in fp32, and as they are returned
    assert used <= linear.WORKSPACE["cuda"] + kept + (64 << 20)


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
def test_offsets_beyond_32_bits() -> None:
    """16,384 × 200,064 logits: rows start beyond 2^31 elements."""
    logits = torch.zeros(16_384, 200_064, dtype=torch.bfloat16, device="cuda").requires_grad_()
    targets = torch.full((16_384,), 200_063, device="cuda")
    with torch.no_grad():
        logits[-1, -1] = 20.0
    loss = cross_entropy(logits, targets, reduction="none")
    assert float(loss.detach()[0]) == pytest.approx(math.log(200_064), rel=1e-5)
    last = math.log(200_063 + math.exp(20.0)) - 20.0
    assert float(loss.detach()[-1]) == pytest.approx(last, rel=1e-2)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert float(gradient[0, -1]) == pytest.approx(-1.0, rel=1e-2)
    assert float(gradient[-1, 0]) == pytest.approx(math.exp(-20.0 - last), rel=1e-2)


@pytest.mark.gpu
def test_cuda_graph() -> None:
    hidden, weight, targets = problem(256, 128, 5000, torch.bfloat16, torch.device("cuda"))

    def step() -> tuple[torch.Tensor, ...]:
        loss = linear_cross_entropy(hidden, weight, targets)
        return loss, *gradients(loss, hidden, weight)

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        hidden.mul_(0.5)
    graph.replay()
    for a, b in zip(captured, step(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.gpu
def test_target_out_of_range_on_a_gpu() -> None:
    """In a process of its own: a device assertion ends the CUDA context."""
    code = (
        "import torch; from kernels.cross_entropy import linear_cross_entropy as f\n"
        "h, w = torch.randn(4, 16, device='cuda'), torch.randn(50, 16, device='cuda')\n"
        "f(h, w, torch.tensor([0, 1, 50, 2], device='cuda')); torch.cuda.synchronize()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "assert" in done.stderr.lower()
