"""Tensors of decode steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CPU = torch.device("cpu")


class Case(NamedTuple):
    """The tensors of a call."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    states: torch.Tensor
    slopes: torch.Tensor

    def copy(self) -> Case:
        """With states of its own."""
        return self._replace(states=self.states.clone())


def case(
    B: int = 2,
    T: int | None = None,
    H: int = 2,
    Hk: int | None = None,
    K: int = 16,
    V: int = 32,
    pages: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device = DEVICE,
    seed: int = 0,
) -> Case:
    """Random tensors; T is left out of the shapes when it is None."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tokens = () if T is None else (T,)
    kv_heads = H if Hk is None else Hk
    q, k = normal(B, *tokens, H, K), normal(B, *tokens, kv_heads, K)
    v = normal(B, *tokens, kv_heads, V)
    states = normal(B if pages is None else pages, H, K, V)
    slopes = torch.rand(H, generator=generator)
    q, k, v = (x.to(device, dtype) for x in (q, k, v))
    return Case(q, k, v, states.to(device), slopes.to(device))


def indices(*values: Any, device: torch.device = DEVICE) -> torch.Tensor:
    """An index tensor."""
    return torch.tensor(values, dtype=torch.int32, device=device)


def close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Within the tolerance of ``dtype``, also when ``expected`` is empty."""
    return expected.numel() == 0 or rel_rms(found, expected) <= TOLERANCE[dtype]
