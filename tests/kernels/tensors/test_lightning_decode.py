"""A decode step against the recurrence, over pages, padding, strides and tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lightning import decode as module
from kernels.lightning.decode import decode_reference, decode_tile, lightning_decode
from kernels.lightning.reference import recurrence
from kernels.triton_support import cdiv
from tests.kernels.tensors.decode_cases import CPU, DEVICE, Case, case, close, indices


@settings(max_examples=20, deadline=None)
@given(
    B=st.integers(0, 3),
    T=st.integers(1, 3),
    Hk=st.integers(1, 2),
    group=st.integers(1, 2),
    K=st.integers(1, 40),
    V=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    activation=st.sampled_from([None, "silu"]),
    scale=st.sampled_from([1.0, 0.125]),
    seed=st.integers(0, 99),
)
def test_equals_the_recurrence(
    B: int,
    T: int,
    Hk: int,
    group: int,
    K: int,
    V: int,
    dtype: torch.dtype,
    activation: str | None,
    scale: float,
    seed: int,
) -> None:
    x = case(B, T, Hk * group, Hk, K, V, B + 2, dtype, seed=seed)
    page = torch.randperm(B + 2, generator=torch.Generator().manual_seed(seed))[:B].to(DEVICE)
    o, after = decode_reference(
        x.q, x.k, x.v, x.states[page], x.slopes, scale=scale, activation=activation
    )
    expected = x.states.double()
    expected[page] = after[:, -1]
    found = lightning_decode(*x, state_index=page, scale=scale, activation=activation)
    assert found.dtype == dtype
    assert found.shape == o.shape
    assert close(found, o, dtype)
    assert close(x.states, expected, torch.float32)


@pytest.mark.parametrize(("K", "V"), [(64, 64), (96, 96), (128, 128), (256, 64), (64, 256)])
def test_head_sizes(K: int, V: int) -> None:
    x = case(1, None, 1, 1, K, V, dtype=torch.bfloat16)
    q, k, v = (y.unsqueeze(1) for y in x[:3])
    o, after = decode_reference(q, k, v, x.states, x.slopes)
    found = lightning_decode(*x)
    assert close(found, o[:, 0], torch.bfloat16)
    assert close(x.states, after[:, -1], torch.float32)


@pytest.mark.parametrize("heads", [1, 8, 64])
def test_one_sequence_is_spread_over_many_programs(heads: int) -> None:
    _, columns, warps = decode_tile(128, 128)
    assert heads * cdiv(128, columns) >= 4 * heads
    assert 64 * cdiv(128, columns) > 132  # more than an H200 has multiprocessors
    assert 1 <= warps <= 32


def test_the_plain_form_equals_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    x = case(3, 2, 4, 2, 24, 40, pages=9, dtype=torch.bfloat16, device=CPU)
    page, target = indices(5, -1, 0, device=CPU), indices([1, 2], [3, 4], [-1, 0], device=CPU)
    plain = x.copy()
    with monkeypatch.context() as patch:
        patch.setattr(module, "runs_triton", lambda _: False)
        expected = lightning_decode(
            *plain, state_index=page, write_index=target, activation="silu", scale=0.5
        )
    x = Case(*(y.to(DEVICE) for y in x))
    found = lightning_decode(
        *x,
        state_index=page.to(DEVICE),
        write_index=target.to(DEVICE),
        activation="silu",
        scale=0.5,
    )
    assert close(found, expected, torch.bfloat16)
    assert close(x.states, plain.states, torch.float32)
    assert torch.equal(found[1].cpu(), torch.zeros_like(expected[1]))
    kept = [3, 4, 5, 6, 7, 8]
    assert torch.equal(x.states[kept], case(3, 2, 4, 2, 24, 40, pages=9).states[kept])


def test_decoding_goes_on_from_a_prefill() -> None:
    x = case(2, 9, 4, 2, 16, 16)
    o, final = recurrence(x.q, x.k, x.v, x.slopes)
    _, state = recurrence(x.q[:, :6], x.k[:, :6], x.v[:, :6], x.slopes)
    state = state.float()
    for t in range(6, 9):
        found = lightning_decode(x.q[:, t], x.k[:, t], x.v[:, t], state, x.slopes)
        assert close(found, o[:, t], torch.float32)
    assert close(state, final, torch.float32)


@pytest.mark.parametrize("slope", [0.0, 5.0e-5, 3.9e-3, 0.2499, 0.25, 0.917, 20.0, 200.0])
def test_a_slow_decay_is_finer_than_its_own_rounding(slope: float) -> None:
    # A decay rounded to fp32, which is up to 3e-8 off, shifts every element the same way. The mean
    # over many elements shows a shift far below the rounding of each.
    x = case(1, None, 1, 1, 64, 64)
    x.states.uniform_(1.0, 2.0, generator=torch.Generator(DEVICE).manual_seed(1))
    x.slopes.fill_(slope)
    x.k.zero_()
    before = x.states.double()
    lightning_decode(*x)
    exact = torch.exp(-x.slopes.double()).item()
    error = ((x.states.double() - exact * before) / before).mean().item()
    assert abs(error) <= 2e-9 + (1.2e-7 * (1 - exact) if slope < 0.25 else 3e-7 * exact)


def test_pages_and_rows_may_lie_in_any_order() -> None:
    x = case(3, None, 2, 1, 16, 40, pages=7)
    pages = indices(6, 2, 4)
    start = x.states.clone()
    found = lightning_decode(*x, state_index=pages)
    assert torch.equal(x.states[[0, 1, 3, 5]], start[[0, 1, 3, 5]])

    order, place = torch.tensor([2, 0, 1]), torch.tensor([3, 5, 1, 0, 6, 2, 4])
    moved = torch.empty_like(start)
    moved[place] = start
    again = lightning_decode(
        x.q[order],
        x.k[order],
        x.v[order],
        moved,
        x.slopes,
        state_index=place.to(DEVICE)[pages[order].long()],
    )
    assert torch.equal(again, found[order])
    assert torch.equal(moved[place], x.states)


def test_a_row_has_the_same_bits_alone_and_again() -> None:
    x = case(3, None, 2, 2, 32, 40, pages=4, dtype=torch.bfloat16)
    first, second, alone = x.copy(), x.copy(), x.copy()
    found = lightning_decode(*first, state_index=indices(1, 3, 0))
    assert torch.equal(lightning_decode(*second, state_index=indices(1, 3, 0)), found)
    assert torch.equal(first.states, second.states)
    single = lightning_decode(
        x.q[1:2], x.k[1:2], x.v[1:2], alone.states, x.slopes, state_index=indices(3)
    )
    assert torch.equal(single, found[1:2])
    assert torch.equal(alone.states[3], first.states[3])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_padding_slots_are_zero_and_touch_nothing(dtype: torch.dtype) -> None:
    x = case(3, None, 2, 1, 16, 40, pages=3)
    x.q[1], x.k[1], x.v[1] = float("nan"), float("inf"), float("nan")
    start = x.states.clone()
    found = lightning_decode(*x, state_index=indices(2, -1, -7).to(dtype))
    assert torch.equal(found[1:], torch.zeros_like(found[1:]))
    assert torch.equal(x.states[:2], start[:2])
    assert not torch.equal(x.states[2], start[2])


def test_a_kernel_shows_pages_beyond_the_pool() -> None:
    x = case(2, 2, 1, 1, 16, 16, pages=3)
    out = x.q.new_empty(2, 2, 1, 16)
    start = x.states.clone()
    # Not through the public function, whose CPU path raises before the launch.
    module._launch(*x, indices(3, 0), None, 1.0, False, out)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()
    assert torch.equal(x.states[1:], start[1:])
    x.states.copy_(start)
    module._launch(*x, indices(0, 1), indices([0, 3], [1, -1]), 1.0, False, out)
    assert out[0, 1].isnan().all()
    assert out[0, 0].isfinite().all()
    assert out[1].isfinite().all()
    assert torch.equal(x.states[2], start[2])


def test_several_tokens_equal_as_many_calls() -> None:
    x = case(2, 4, 2, 1, 16, 40, dtype=torch.bfloat16)
    single = x.copy()
    found = lightning_decode(*x)
    for t in range(4):
        one = lightning_decode(x.q[:, t], x.k[:, t], x.v[:, t], single.states, x.slopes)
        assert close(found[:, t], one, torch.bfloat16)
    assert close(x.states, single.states, torch.float32)


def test_states_after_every_token_go_to_their_pages() -> None:
    x = case(2, 3, 2, 2, 16, 16, pages=8)
    start = x.states.clone()
    _, after = decode_reference(x.q, x.k, x.v, start[[0, 1]], x.slopes)
    lightning_decode(*x, state_index=indices(0, 1), write_index=indices([2, -1, 3], [4, 5, 1]))
    for row, t, page in [(0, 0, 2), (0, 2, 3), (1, 0, 4), (1, 1, 5), (1, 2, 1)]:
        assert close(x.states[page], after[row, t], torch.float32)
    assert torch.equal(x.states[[0, 6, 7]], start[[0, 6, 7]])


def test_rows_fork_one_prefix() -> None:
    x = case(3, None, 2, 2, 16, 16, pages=4)
    start = x.states.clone()
    q, k, v = (y.unsqueeze(1) for y in x[:3])
    o, after = decode_reference(q, k, v, start[[3, 3, 3]], x.slopes)
    found = lightning_decode(*x, state_index=indices(3, 3, 3), write_index=indices(2, 0, 1))
    assert close(found, o[:, 0], torch.float32)
    assert close(x.states[[2, 0, 1]], after[:, 0], torch.float32)
    assert torch.equal(x.states[3], start[3])


def test_strides_are_read_where_the_tensors_lie() -> None:
    B, H, K = 2, 2, 32
    x = case(B, None, H, H, K, K, pages=3)
    expected = lightning_decode(*(packed := x.copy()), state_index=indices(2, 0))

    fused = torch.cat([x.q, x.k, x.v], -1)
    q, k, v = (
        fused[..., :K],
        fused[..., K : 2 * K],
        fused[..., 2 * K :],
    )  # [B, H, 3d], as one projection writes it
    pool = torch.full((H, 4, K, K), float("nan"), device=DEVICE)[:, :3].transpose(0, 1)
    pool.copy_(x.states)
    wide = torch.full((H, B, 2 * K), float("nan"), device=DEVICE)
    out = wide[..., :K].transpose(0, 1)
    slopes = torch.stack([x.slopes, x.slopes], 1)[:, 0]
    index = indices([2, 9], [0, 9])[:, 0]
    found = lightning_decode(q, k, v, pool, slopes, state_index=index, out=out)
    assert found.data_ptr() == out.data_ptr()
    assert torch.equal(found, expected)
    assert torch.equal(pool, packed.states)
    assert wide[..., K:].isnan().all()

    across = x.copy()
    q, k, v = (y.transpose(1, 2).contiguous().transpose(1, 2) for y in x[:3])
    found = lightning_decode(q, k, v, *across[3:], state_index=indices(2, 0))
    assert torch.equal(found, expected)
    assert torch.equal(across.states, packed.states)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_head_and_shows(value: float) -> None:
    for place in range(4):
        x = case(2, None, 2, 2, 16, 16)
        x[place][1, 1].view(-1)[3] = value
        found = lightning_decode(*x)
        assert not found[1, 1].isfinite().all()
        assert found[0].isfinite().all()
        assert found[1, 0].isfinite().all()
        assert x.states[0].isfinite().all()
        assert x.states[1, 0].isfinite().all()
        if place:
            assert not x.states[1, 1].isfinite().all()


def test_a_row_writes_its_own_page_and_padding_rows_write_none() -> None:
    x = case(3, pages=2, device=CPU)
    start = x.states.clone()
    lightning_decode(
        *x,
        state_index=indices(1, -1, -1, device=CPU),
        write_index=indices(1, 0, 0, device=CPU),
    )
    assert torch.equal(x.states[0], start[0])
    assert not torch.equal(x.states[1], start[1])


def test_the_operator_keeps_what_it_declares() -> None:
    x = case(2, 1, 2, 1, 16, 16, pages=3)
    out = torch.zeros(2, 1, 2, 16, device=DEVICE)
    arguments = (*x, indices(2, 0), None, 1.0, True, out)
    torch.library.opcheck(
        torch.ops.leyden.lightning_decode.default,
        arguments,
        test_utils=("test_schema", "test_faketensor"),
    )


def test_it_compiles_without_breaking_the_graph() -> None:
    x = case(2, None, 2, 1, 16, 16, pages=3, dtype=torch.bfloat16)
    eager = x.copy()
    expected = lightning_decode(*eager, state_index=indices(2, 0), activation="silu") * 2

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(x: Case, pages: torch.Tensor) -> torch.Tensor:
        return lightning_decode(*x, state_index=pages, activation="silu") * 2

    with torch.no_grad():
        assert torch.equal(step(x, indices(2, 0)), expected)
    assert torch.equal(x.states, eager.states)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("K", "V"), [(64, 64), (96, 96), (128, 128), (256, 256), (128, 64)])
def test_a_large_batch(K: int, V: int, dtype: torch.dtype) -> None:
    x = case(96, 2, 64, 8, K, V, pages=100, dtype=dtype)
    page = torch.randperm(100, device=DEVICE)[:96]
    o, after = decode_reference(x.q, x.k, x.v, x.states[page], x.slopes, activation="silu")
    found = lightning_decode(*x, state_index=page, activation="silu")
    assert close(found, o, dtype)
    assert close(x.states[page], after[:, -1], torch.float32)


@pytest.mark.gpu
def test_a_graph_serves_batches_of_any_size() -> None:
    x = case(8, None, 64, 64, 128, 128, pages=16, dtype=torch.bfloat16)
    page = torch.full((8,), -1, dtype=torch.int32, device=DEVICE)
    out = torch.empty_like(x.v)
    lightning_decode(*x, state_index=page, out=out)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        lightning_decode(*x, state_index=page, out=out)
    for pages in ([3, 1, 15], [0, 2, 4, 6, 8, 10, 12, 14], [5]):
        page.copy_(indices(*pages, *[-1] * (8 - len(pages))))
        x.q.normal_()
        out.fill_(float("nan"))
        eager = x.copy()
        expected = lightning_decode(*eager, state_index=page)
        graph.replay()
        assert torch.equal(out, expected)
        assert torch.equal(x.states, eager.states)


@pytest.mark.gpu
@pytest.mark.xdist_group("large")
def test_pages_beyond_31_bits_of_offset() -> None:
    pages = 2_100  # of 64 · 128 · 128 floats: 8.8 GB
    x = case(1, None, 64, 8, 128, 128, pages=1)
    pool = torch.zeros(pages, 64, 128, 128, device=DEVICE)
    assert pool.stride(0) * (pages - 1) > 2**31
    pool[-1] = x.states[0]
    expected = lightning_decode(*x)
    found = lightning_decode(*x[:3], pool, x.slopes, state_index=indices(pages - 1))
    assert torch.equal(found, expected)
    assert torch.equal(pool[-1], x.states[0])
    assert not pool[:-1].any()


@pytest.mark.gpu
def test_twenty_thousand_tokens_of_the_slowest_head() -> None:
    x = case(2, None, 2, 2, 64, 64, dtype=torch.float32)
    x.slopes.copy_(torch.tensor([3.9e-3 * 0.0127, 3.9e-3]))
    exact = x.states.double()
    decay = torch.exp(-x.slopes.double())[:, None, None]
    for _ in range(20_000):
        x.k.normal_()
        x.v.normal_()
        exact = decay * exact + x.k.double()[..., :, None] * x.v.double()[..., None, :]
        found = lightning_decode(*x)
    o = torch.einsum("bhk,bhkv->bhv", x.q.double(), exact)
    assert close(x.states, exact, torch.float32)
    assert close(found, o, torch.float32)
