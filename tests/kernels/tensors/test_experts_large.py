"""Grouped experts at sizes that only a GPU reaches."""

from __future__ import annotations

import pytest
import torch

from kernels.experts import grouped_experts, permute, unpermute
from tests.kernels.tensors.expert_layers import check, make

pytestmark = [pytest.mark.gpu, pytest.mark.xdist_group("large")]


@pytest.mark.parametrize("capacity", [None, 1000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_large(device: torch.device, dtype: torch.dtype, capacity: int | None) -> None:
    problem = make(device, dtype, tokens=16_384, width=2048, hidden=1408, num_experts=32, seed=1)
    check(problem, lambda p: grouped_experts(*p, capacity=capacity))


def test_rows_beyond_32_bit_offsets(device: torch.device) -> None:
    """2.5 billion elements in the rows: the last token goes through as the first does."""
    tokens, width = 300_000, 4096
    x = torch.zeros(tokens, width, dtype=torch.bfloat16, device=device)
    x[0], x[-1] = 1.0, 2.0
    index = torch.tensor([0, 1], device=device).expand(tokens, 2).contiguous()
    probabilities = torch.ones(tokens, 2, device=device)
    found = permute(x, index, probabilities, 2)
    out = unpermute(found.tokens, found.row_of, found.offsets)
    assert found.tokens.numel() > 2**31
    assert (found.tokens[-1] == 2).all()
    assert torch.equal(out, 2 * x)
