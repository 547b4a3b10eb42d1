"""Ranks for sequence parallelism: threads that meet at a barrier; processes with gloo or nccl."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from kernels.lightning.api import lightning_attention
from kernels.lightning.reference import chunked, recurrence
from kernels.lightning.sequence_parallel import Attention, Gather, attend, lasp_attention, share
from kernels.lightning.slopes import alibi_slopes, no_decay

Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def exact(found: object, expected: object) -> None:
    """Equal but for the rounding of float64."""
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def plain(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    scale: float = 1.0,
    activation: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The chunked reference under the kernel's arguments."""
    o, state = chunked(
        q, k, v, slopes,
        initial_state=initial_state, cu_seqlens=cu_seqlens, scale=scale, activation=activation,
    )  # fmt: skip
    return (o, state) if output_final_state else o


class Ranks:
    """Threads that stand for ranks; counts what they gather."""

    def __init__(self, world: int) -> None:
        self.world, self.gathered = world, 0
        self.slots: list[torch.Tensor] = [torch.empty(0)] * world
        self.barrier = threading.Barrier(world, timeout=60)

    def run(self, work: Callable[[int, Gather], None]) -> None:
        """``work(rank, gather)`` for every rank at once; the first error of any is raised."""
        errors: list[BaseException] = []

        def body(rank: int) -> None:
            try:
                work(rank, lambda x: self._gather(rank, x))
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise next(
                (e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0]
            )

    def _gather(self, rank: int, x: torch.Tensor) -> torch.Tensor:
        self.slots[rank] = x
        if self.barrier.wait() == 0:
            self.gathered += 1
        stacked = torch.stack(self.slots)
        self.barrier.wait()
        return stacked


class Case(NamedTuple):
    """Tokens of all ranks in float64, where they are cut, and where sequences begin."""

    x: Three
    weight: torch.Tensor
    slopes: torch.Tensor
    lengths: list[int]
    boundaries: list[int] | None
    scale: float
    activation: str | None


def make(
    seed: int,
    lengths: list[int],
    boundaries: list[int] | None,
    heads: tuple[int, int] = (2, 2),
    sizes: tuple[int, int] = (2, 3),
    decays: bool = True,
    activation: str | None = None,
) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def draw(heads: int, size: int) -> torch.Tensor:
        shape = (1 if boundaries else 2, sum(lengths), heads, size)
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x = draw(heads[0], sizes[0]), draw(heads[1], sizes[0]), draw(heads[1], sizes[1])
    slopes = alibi_slopes(heads[0], 0, 2) / 4 if decays else no_decay(heads[0])
    weight = draw(heads[0], sizes[1])
    return Case(x, weight, slopes, lengths, boundaries, 0.7, activation)


def cut(x: torch.Tensor, lengths: Sequence[int]) -> list[torch.Tensor]:
    """Leaves: each rank's tokens."""
    return [part.detach().clone().requires_grad_() for part in torch.split(x, list(lengths), dim=1)]


def expected(case: Case) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """o and the gradients of q, k, v on one device."""
    q, k, v = (x.clone().requires_grad_() for x in case.x)
    cu_seqlens = None if case.boundaries is None else torch.tensor(case.boundaries)
    o, _ = recurrence(
        q, k, v, case.slopes, cu_seqlens=cu_seqlens, scale=case.scale, activation=case.activation
    )
    if not o.requires_grad:  # not one token
        return o, tuple(map(torch.zeros_like, case.x))
    return o.detach(), torch.autograd.grad((o * case.weight).sum(), (q, k, v))


def simulate(
    case: Case, attention: Attention = plain, horizons: list[int] | None = None
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], int]:
    """o and gradients put together from ranks, and how often they gathered."""
    ranks = Ranks(len(case.lengths))
    leaves = [cut(x, case.lengths) for x in case.x]
    weights = torch.split(case.weight, case.lengths, dim=1)
    outputs: dict[int, torch.Tensor] = {}

    def work(rank: int, gather: Gather) -> None:
        q, k, v = (x[rank] for x in leaves)
        mine = share(case.lengths, rank, case.boundaries)
        o = attend(
            q,
            k,
            v,
            case.slopes,
            mine,
            gather,
            scale=case.scale,
            activation=case.activation,
            horizons=horizons,
            attention=attention,
        )
        outputs[rank] = o.detach()
        torch.autograd.backward(o, weights[rank])

    ranks.run(work)
    gradients = tuple(
        torch.cat([torch.zeros_like(x) if x.grad is None else x.grad for x in parts], dim=1)
        for parts in leaves
    )
    whole = torch.cat([outputs[rank] for rank in range(ranks.world)], dim=1)
    return whole, gradients, ranks.gathered


def processes(rank: int, folder: str) -> None:
    """One of four ranks, which form a group of four and two groups of two."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=4)
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    for group, world, mine in ((None, 4, rank), (pairs[rank // 2], 2, rank % 2)):
        lengths = [13, 7, 0, 20][:world]
        for boundaries in (None, [0, 3, 3, 18, sum(lengths)]):
            case = make(world, lengths, boundaries, activation="silu" if world == 2 else None)
            wanted, wanted_gradients = expected(case)
            leaves = [cut(x, lengths)[mine] for x in case.x]
            q, k, v = leaves
            cu_seqlens = None if boundaries is None else torch.tensor(boundaries)
            o = lasp_attention(
                q,
                k,
                v,
                case.slopes,
                group=group,
                lengths=lengths,
                cu_seqlens=cu_seqlens,
                scale=case.scale,
                activation=case.activation,
                attention=plain,
            )
            torch.autograd.backward(o, torch.split(case.weight, lengths, dim=1)[mine])
            exact(o, torch.split(wanted, lengths, dim=1)[mine])
            for leaf, gradient in zip(leaves, wanted_gradients, strict=True):
                assert leaf.grad is not None
                exact(leaf.grad, torch.split(gradient, lengths, dim=1)[mine])
    dist.destroy_process_group()
    Path(folder, f"done-{rank}").touch()


def gpu_processes(rank: int, folder: str, world: int) -> None:
    """One of ``world`` ranks that run nccl, a GPU each; against one GPU with the whole sequence."""
    torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    lengths = [1000 + 500 * n for n in range(world)]
    slopes = alibi_slopes(4, 0, 8).cuda()
    for boundaries in (None, [0, 300, 900, 1100, sum(lengths)]):
        generator = torch.Generator("cuda").manual_seed(1)
        whole = [
            torch.randn(1, sum(lengths), 4, 64, device="cuda", generator=generator)
            for _ in range(4)
        ]
        alone = [x.clone().requires_grad_() for x in whole[:3]]
        cu_seqlens = None if boundaries is None else torch.tensor(boundaries, dtype=torch.int32)
        on_gpu = None if cu_seqlens is None else cu_seqlens.cuda()
        q, k, v = alone
        wanted = lightning_attention(q, k, v, slopes, cu_seqlens=on_gpu, activation="silu")
        assert isinstance(wanted, torch.Tensor)
        torch.autograd.backward(wanted, whole[3])
        leaves = [cut(x, lengths)[rank] for x in whole[:3]]
        q, k, v = leaves
        o = lasp_attention(
            q, k, v, slopes, lengths=lengths, cu_seqlens=cu_seqlens, activation="silu"
        )
        torch.autograd.backward(o, torch.split(whole[3], lengths, dim=1)[rank])
        near(o, torch.split(wanted, lengths, dim=1)[rank])
        for leaf, other in zip(leaves, alone, strict=True):
            assert leaf.grad is not None
            assert other.grad is not None
            near(leaf.grad, torch.split(other.grad, lengths, dim=1)[rank])
    dist.destroy_process_group()
    Path(folder, f"done-{rank}").touch()


def near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Within a relative RMS error of 1e-5, as fp32 kernels are held to."""
    error = float((found - wanted).double().norm() / wanted.double().norm())
    assert error <= 1e-5, error
