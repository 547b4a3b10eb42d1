"""The experts as the equations read: loops over tokens and experts, in float64.

    y_t = Σ_j p_{t,j} · W_d[e] (SiLU(W_g[e] x_t) ⊙ W_u[e] x_t),   e = index[t, j]

(MiniMax-01 §2.2 with the SwiGLU expert of the released code.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu


def dropped_slots(
    expert_index: Tensor,
    probabilities: Tensor,
    num_experts: int,
    capacity: int,
    drop: str = "probability",
    sequence_ids: Tensor | None = None,
) -> Tensor:
    """``capacity.over_capacity`` as a loop over sequences and experts; bool ``[N, k]``."""
    tokens, choices = expert_index.shape
    ids = [0] * tokens if sequence_ids is None else sequence_ids.tolist()
    index, probability = expert_index.tolist(), probabilities.double().tolist()
    dropped = torch.zeros(tokens, choices, dtype=torch.bool, device=expert_index.device)
    for sequence in set(ids):
        for expert in range(num_experts):
            slots = [
                (t, j)
                for t in range(tokens)
                for j in range(choices)
                if ids[t] == sequence and index[t][j] == expert
            ]
            if drop == "probability":
                slots.sort(key=lambda slot: (-probability[slot[0]][slot[1]], slot))
            for t, j in slots[capacity:]:
                dropped[t, j] = True
    return dropped


def grouped_experts(
    x: Tensor,
    expert_index: Tensor,
    probabilities: Tensor,
    w_gate_up: Tensor,
    w_down: Tensor,
    dropped: Tensor | None = None,
) -> Tensor:
    """The weighted sum of each token's experts, differentiable.

    Args:
        x: ``[N, h]``.
        expert_index: ``[N, k]``, -1 for no expert.
        probabilities: ``[N, k]``.
        w_gate_up: ``[E, 2F, h]``, the gate's rows first.
        w_down: ``[E, h, F]``.
        dropped: bool ``[N, k]``, slots to leave out, or None.

    Returns:
        float64 ``[N, h]``.
    """
    x, probabilities = x.double(), probabilities.double()
    y = torch.zeros_like(x)
    for expert in range(w_gate_up.shape[0]):
        chosen = expert_index == expert
        if dropped is not None:
            chosen = chosen & ~dropped
        for choice in range(expert_index.shape[1]):
            (tokens,) = torch.nonzero(chosen[:, choice], as_tuple=True)
            gate, up = (x[tokens] @ w_gate_up[expert].double().T).chunk(2, dim=-1)
            output = (silu(gate) * up) @ w_down[expert].double().T
            y = y.index_add(0, tokens, probabilities[tokens, choice, None] * output)
    return y
