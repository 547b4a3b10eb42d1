"""Decode steps of one lightning layer of MiniMax-01, beside the bytes that no version can save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import torch

from kernels.lightning.decode import lightning_decode
from kernels.lightning.slopes import alibi_slopes

BATCHES = (1, 8, 64, 512)
HEADS = 64
SIZE = 128
"""K and V."""

PAGES = 512
"""Pages of the pool, 2 GiB. Calls take turns through all of it, in random order, so that no state
is still in a cache when it is read again."""


def cases(device: torch.device) -> Iterator[tuple[str, Callable[[], torch.Tensor], int]]:
    """``(name, call, floor)`` for every batch: one call is one decode step of the batch.

    q, k and v are bf16 views of a fused projection [B, H, 3 · 128] and SiLU is applied inside. The
    floor is in bytes: each state of the batch read once and written once.
    """
    generator = torch.Generator(device).manual_seed(0)
    states = torch.empty(PAGES, HEADS, SIZE, SIZE, device=device).normal_(generator=generator)
    slopes = alibi_slopes(HEADS, 40, 80).to(device)
    order = torch.randperm(PAGES, generator=generator, device=device).int()
    for batch in BATCHES:
        projected = torch.empty(batch, HEADS, 3, SIZE, device=device, dtype=torch.bfloat16)
        projected.normal_(generator=generator)
        out = torch.empty(batch, HEADS, SIZE, device=device, dtype=torch.bfloat16)
        pages = [order[first : first + batch] for first in range(0, PAGES, batch)]
        call = _step(projected, states, slopes, pages, out)
        yield f"decode-{batch}", call, 2 * batch * states[0].numel() * states.element_size()


def _step(
    projected: torch.Tensor,
    states: torch.Tensor,
    slopes: torch.Tensor,
    pages: list[torch.Tensor],
    out: torch.Tensor,
) -> Callable[[], torch.Tensor]:
    q, k, v = projected.unbind(-2)
    turn = cycle(pages)

    def step() -> torch.Tensor:
        return lightning_decode(
            q, k, v, states, slopes, state_index=next(turn), activation="silu", out=out
        )

    return step
