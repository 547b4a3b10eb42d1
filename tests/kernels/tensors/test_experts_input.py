"""What grouped experts refuse, and in which words."""

from __future__ import annotations

import pytest
import torch

from kernels.experts import experts, grouped_experts, permute, unpermute
from tests.kernels.tensors.expert_layers import make


def test_bad_input_is_refused_before_a_launch(device: torch.device) -> None:
    x, index, probabilities, w_gate_up, w_down = make(device)
    for error, message, arguments in (
        (
            TypeError,
            "w_gate_up of torch.float64",
            (x, index, probabilities, w_gate_up.double(), w_down),
        ),
        (
            TypeError,
            "found x of torch.int64",
            (x.long(), index, probabilities, w_gate_up.long(), w_down.long()),
        ),
        (
            TypeError,
            "expert_index of torch.float32",
            (x, index.float(), probabilities, w_gate_up, w_down),
        ),
        (TypeError, "probabilities of torch.int64", (x, index, index, w_gate_up, w_down)),
        (ValueError, "same leading sizes", (x[1:], index, probabilities, w_gate_up, w_down)),
        (
            ValueError,
            r"expected both \[19, k\]",
            (x, index, probabilities[:, :1], w_gate_up, w_down),
        ),
        (ValueError, r"expected \[E, 2F, h\]", (x, index, probabilities, w_gate_up[:, 1:], w_down)),
        (ValueError, r"expected \[E, 2F, h\]", (x, index, probabilities, w_gate_up, w_down[1:])),
        (ValueError, r"expected \[E, 2F, h\]", (x, index, probabilities, w_gate_up[0], w_down)),
        (
            ValueError,
            "found w_down on meta",
            (x, index, probabilities, w_gate_up, w_down.to("meta")),
        ),
    ):
        with pytest.raises(error, match=message):
            grouped_experts(*arguments)
    for message, options in (
        ("found drop='random'", {"drop": "random"}),
        ("found capacity -1", {"capacity": -1}),
        ("found both", {"sequence_ids": index[:, 0], "cu_seqlens": torch.tensor([0, 19])}),
        ("one id for each of the 19", {"sequence_ids": index[1:, 0]}),
        ("rise from 0", {"cu_seqlens": torch.tensor([0, 18])}),
        ("rise from 0", {"cu_seqlens": torch.tensor([0, 12, 9, 19])}),
    ):
        with pytest.raises(ValueError, match=message):
            permute(x, index, probabilities, 5, **({"capacity": 2} | options))
    with pytest.raises(ValueError, match="expected int32"):
        experts(x, w_gate_up, w_down, torch.zeros(5, dtype=torch.int64, device=device))
    with pytest.raises(ValueError, match="take both from the same permute"):
        unpermute(x, index, torch.zeros(5, dtype=torch.int32, device=device))


def test_an_index_that_is_no_expert(device: torch.device, form: str) -> None:
    """An error where looking costs nothing; where it would stop the stream, a dropped slot."""
    problem = make(device)
    problem.chosen[0, 0] = 5
    if form == "plain":
        with pytest.raises(ValueError, match="found expert indices from 0 to 5"):
            grouped_experts(*problem)
        return
    _, dropped = grouped_experts(*problem)
    assert dropped.sum() == 1
    assert dropped[0, 0]
