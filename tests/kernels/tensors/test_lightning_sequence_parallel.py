"""A sequence over ranks equals the sequence on one device, gradients included.

Ranks are threads of one process that meet at a barrier to gather, and for two tests processes that
gather through gloo, or through nccl where there are two GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from kernels.lightning.horizon import horizon, tail
from kernels.lightning.reference import recurrence
from kernels.lightning.sequence_parallel import (
    attend,
    combine,
    lasp_attention,
    local_gradient,
    local_state,
    share,
)
from kernels.lightning.slopes import no_decay
from tests.kernels.tensors.ranks import (
    Case,
    cut,
    exact,
    expected,
    gpu_processes,
    make,
    plain,
    processes,
    simulate,
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    world = draw(st.sampled_from([2, 3, 4, 8]))
    lengths = draw(st.lists(st.integers(0, 24), min_size=world, max_size=world))
    total, boundaries = sum(lengths), None
    if draw(st.booleans()):
        edges = list(accumulate(lengths))
        inside = st.integers(0, total) | st.sampled_from(edges)  # anywhere, or where ranks meet
        some = draw(st.lists(inside, max_size=6))
        boundaries = sorted([0, *some, total])
    shared, group = draw(st.sampled_from([(1, 1), (2, 1), (1, 3)]))
    return make(
        draw(st.integers(0, 2**31)),
        lengths,
        boundaries,
        (shared * group, shared),
        decays=draw(st.booleans()),
        activation=draw(st.sampled_from([None, "silu"])),
    )


def crosses(case: Case) -> bool:
    """Whether any sequence has tokens on two ranks, asked token by token."""
    starts = case.boundaries or [0, sum(case.lengths)]
    ends = list(accumulate(case.lengths))
    return any(
        len({sum(t >= end for end in ends) for t in range(start, end)}) > 1
        for start, end in pairwise(starts)
    )


@settings(max_examples=60, deadline=None)
@given(cases())
def test_ranks_equal_one_device(case: Case) -> None:
    """Outputs and gradients, and one gathering each way: none when no sequence is cut."""
    o, gradients, gathered = simulate(case)
    wanted, wanted_gradients = expected(case)
    exact(o, wanted)
    exact(gradients, wanted_gradients)
    assert gathered == (2 if crosses(case) else 0)


PLACES = {
    "one sequence": ([5, 7], None),
    "empty rank": ([6, 0, 5], None),
    "first rank empty": ([0, 6, 5], None),
    "boundary where ranks meet": ([6, 6], [0, 6, 12]),
    "empty document where ranks meet": ([6, 6], [0, 6, 6, 12]),
    "empty documents at both ends": ([6, 6], [0, 0, 12, 12]),
    "boundary inside each rank": ([6, 6], [0, 3, 8, 12]),
    "document over four ranks": ([4, 4, 4, 4], [0, 2, 15, 16]),
    "many short documents, calls split": ([12, 12], list(range(0, 25, 2))),
    "long documents, one call": ([40, 40], [0, 15, 50, 80]),
    "one token each": ([1] * 8, [0, 3, 8]),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("batch_of_two", [False, True])
def test_places_of_boundaries(place: str, batch_of_two: bool) -> None:
    lengths, boundaries = PLACES[place]
    if batch_of_two and boundaries is not None:
        boundaries = None  # the same cuts without documents
    case = make(1, lengths, boundaries)
    o, gradients, _ = simulate(case)
    wanted, wanted_gradients = expected(case)
    exact(o, wanted)
    exact(gradients, wanted_gradients)


def test_horizons_leave_out_what_cannot_matter() -> None:
    """With a horizon of b bits, what is left out across an edge stays below 2^-b of the most."""
    case = make(3, [90, 70, 80], None, (4, 4), (4, 4))
    slopes = torch.tensor([2.0, 0.5, 0.2, 0.0])
    case = case._replace(slopes=slopes)
    bits = 12
    horizons = horizon(slopes, bits).tolist()
    assert horizons[0] < 8 < horizons[2] < 64
    found, _, _ = simulate(case, horizons=horizons)
    wanted, _ = expected(case)
    q, k, v = (float(x.norm(dim=-1).max()) for x in case.x)
    most = case.scale * q * k * v * 2.0**-bits * tail(slopes, 0)
    off = (found - wanted).norm(dim=-1).amax((0, 1))
    assert (off[:3] <= most[:3]).all()
    assert float(off[:3].max()) > 1e-9  # something was left out
    assert float(off[3]) < 1e-10  # and nothing of what never decays
    found, gradients, _ = simulate(case, horizons=horizon(slopes, 53).tolist())
    exact(found, wanted)
    exact(gradients, expected(case)[1])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(0, 50),
    st.sampled_from([1, 3]),
    st.sampled_from([None, "silu"]),
    st.data(),
)
def test_local_sums_are_the_recurrence_and_its_gradient(
    seed: int, n: int, group: int, activation: str | None, data: st.DataObject
) -> None:
    tokens = data.draw(st.integers(0, n))
    case = make(seed, [n], None, (2 * group, 2))
    silu: dict[str, Any] = {"activation": activation}
    q, k, v = case.x
    last = slice(n - tokens, n)
    _, state = recurrence(q[:, last], k[:, last], v[:, last], case.slopes, **silu)
    found = local_state(k, v, case.slopes, tokens=tokens, **silu)
    exact(found, state)

    initial = torch.zeros_like(state).requires_grad_()
    o, _ = recurrence(
        q[:, :tokens],
        k[:, :tokens],
        v[:, :tokens],
        case.slopes,
        initial_state=initial,
        scale=case.scale,
        **silu,
    )
    gradient = torch.zeros_like(state)
    if tokens:
        (gradient,) = torch.autograd.grad((o * case.weight[:, :tokens]).sum(), initial)
    found = local_gradient(q, case.weight, case.slopes, tokens=tokens, scale=case.scale, **silu)
    exact(found, gradient)


def test_local_sums_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few tokens are summed at a time, and from bfloat16 in float32."""
    case = make(0, [300], None, (4, 2))
    _, k, v = case.x
    whole = local_state(k, v, case.slopes)
    monkeypatch.setattr("kernels.lightning.sequence_parallel.sums.ELEMENTS_AT_ONCE", 1)
    exact(local_state(k, v, case.slopes), whole)
    low = local_state(k.bfloat16(), v.bfloat16(), case.slopes)
    high = local_state(k.bfloat16().double(), v.bfloat16().double(), case.slopes)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), high, rtol=1e-5, atol=1e-5)


def test_combine_decays_over_the_distance() -> None:
    states, slopes = torch.randn(3, 1, 2, 2, 2, dtype=torch.float64), torch.tensor([0.1, 0.0])
    found = combine(states, [(2, 0), (0, 7)], slopes)
    factor = torch.tensor([0.1], dtype=torch.float32).double().mul(-7).exp()
    torch.testing.assert_close(found[0, 0], states[2, 0, 0] + factor * states[0, 0, 0])
    torch.testing.assert_close(found[0, 1], states[2, 0, 1] + states[0, 0, 1])
    assert not combine(states, [], slopes).any()


def test_share_of_ranks() -> None:
    first, middle, last = (share([4, 5, 6], rank, [0, 2, 2, 15]) for rank in range(3))
    assert (first.boundaries, first.before, first.after) == ((2,), (), ((1, 0), (2, 5)))
    assert (middle.boundaries, middle.before, middle.after) == ((), ((0, 0),), ((2, 0),))
    assert (last.before, last.after) == (((1, 0), (0, 5)), ())
    assert (first.head, first.tail) == (2, 2)
    assert not share([4, 4], 0, [0, 4, 8]).exchange


@pytest.mark.parametrize(
    ("lengths", "rank", "boundaries"),
    [
        ([4, 4], 2, None),
        ([4, -1], 0, None),
        ([], 0, None),
        ([4, 4], 0, [0, 7]),
        ([4, 4], 0, [0, 5, 3, 8]),
        ([4, 4], 0, [1, 8]),
        ([0, 0], 0, [0]),
    ],
)
def test_bad_shares(lengths: list[int], rank: int, boundaries: list[int] | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        share(lengths, rank, boundaries)


@pytest.mark.parametrize("activation", [None, "silu"])
def test_the_kernel_is_the_default(activation: str | None, device: torch.device) -> None:
    """``lightning_attention``, forward and backward, given what the other rank would gather."""
    lengths, boundaries = [20, 24], [0, 8, 44]
    case = make(5, lengths, boundaries, (2, 2), (16, 16), activation=activation)
    silu: dict[str, Any] = {"activation": activation}
    wanted, wanted_gradients = expected(case)
    slopes = case.slopes.to(device)
    parts = [[x.float().to(device) for x in cut(y, lengths)] for y in (*case.x, case.weight)]
    shares = [share(lengths, rank, boundaries) for rank in range(2)]
    forward = torch.stack(
        [
            local_state(k, v, slopes, tokens=s.tail, **silu)
            for k, v, s in zip(*parts[1:3], shares, strict=True)
        ]
    )
    backward = torch.stack(
        [
            local_gradient(q, do, slopes, tokens=s.head, scale=case.scale, **silu)
            for q, do, s in zip(parts[0], parts[3], shares, strict=True)
        ]
    )
    for rank, (start, end) in enumerate([(0, 20), (20, 44)]):
        answers = [backward.detach(), forward.detach()]
        leaves = q, k, v = [parts[i][rank].detach().requires_grad_() for i in range(3)]

        def gather(_: torch.Tensor, answers: list[torch.Tensor] = answers) -> torch.Tensor:
            return answers.pop()

        o = attend(q, k, v, slopes, shares[rank], gather, scale=case.scale, **silu)
        torch.testing.assert_close(o.double().cpu(), wanted[:, start:end], rtol=1e-4, atol=1e-4)
        found = torch.autograd.grad(o, leaves, parts[3][rank].detach())
        for x, y in zip(found, wanted_gradients, strict=True):
            torch.testing.assert_close(x.double().cpu(), y[:, start:end], rtol=1e-4, atol=1e-4)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_a_group_of_one() -> None:
    case = make(0, [12], [0, 5, 12])
    q, k, v = case.x
    o = lasp_attention(
        q, k, v, case.slopes, cu_seqlens=[0, 5, 12], scale=case.scale, attention=plain
    )
    exact(o, expected(case)[0])


@pytest.mark.usefixtures("alone")
def test_lengths_that_do_not_fit_the_group() -> None:
    x, two = torch.ones(1, 5, 2, 2), torch.ones(2, 5, 2, 2)
    with pytest.raises(ValueError, match="one length per rank"):
        lasp_attention(x, x, x, no_decay(2), lengths=[5, 5], attention=plain)
    with pytest.raises(ValueError, match="one length per rank"):
        lasp_attention(x, x, x, no_decay(2), lengths=[4], attention=plain)
    with pytest.raises(ValueError, match="batch of 2"):
        lasp_attention(two, two, two, no_decay(2), cu_seqlens=[0, 5], attention=plain)
    with pytest.raises(ValueError, match="from 0 to 5"):
        lasp_attention(x, x, x, no_decay(2), cu_seqlens=[0, 6], attention=plain)
    with pytest.raises(ValueError, match="activation='relu'"):
        lasp_attention(x, x, x, no_decay(2), activation="relu", attention=plain)
    for sum_of in (local_state, local_gradient):
        with pytest.raises(ValueError, match="activation='relu'"):
            sum_of(x, x, no_decay(2), activation="relu")
    with pytest.raises(ValueError, match="one per head"):
        local_state(x, x, no_decay(2), horizons=[3])


def test_gloo_processes(tmp_path: Path) -> None:
    """Groups of four and of two processes, with and without documents; see ``processes``."""
    spawn(processes, (str(tmp_path),), nprocs=4)  # type: ignore[no-untyped-call]
    assert len(list(tmp_path.glob("done-*"))) == 4


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="nccl needs a GPU for each process")
def test_nccl_processes(tmp_path: Path) -> None:
    """Two ranks on two GPUs, by the Triton kernels, with and without documents."""
    spawn(gpu_processes, (str(tmp_path), 2), nprocs=2)  # type: ignore[no-untyped-call]
    assert len(list(tmp_path.glob("done-*"))) == 2
