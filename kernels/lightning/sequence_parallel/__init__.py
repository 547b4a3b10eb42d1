"""LASP+: one sequence over several ranks, with one all-gather forward and one backward.

Rank r holds ``n_r`` consecutive tokens, in the order of ranks. What earlier tokens mean to it is
one state per head, so no keys or values travel (MiniMax-01, pp. 17 to 19, after LASP,
arXiv:2404.02882, and LASP-2, arXiv:2502.07563). With the state convention of
``kernels.lightning.states``:

1. every rank sums up its own tokens, ``L_r = Σ_t λ^{n_r - t} k_t v_tᵀ`` (t = 1..n_r);
2. one all-gather gives every L to every rank;
3. rank r starts from ``R_r = Σ_{j<r} λ^{d(j,r)} L_j``, where ``d(j,r)`` counts the tokens between
   the end of rank j and the start of rank r, and attends as one device would from an initial
   state.

Backward is the mirror image. ``M_r = scale · Σ_t λ^t q_t do_tᵀ`` is the gradient of rank r's own
outputs by ``R_r``; one all-gather of M gives each rank ``G_r = Σ_{j>r} λ^{d(r,j)} M_j``, the
gradient by the state after its last token, from which its own backward starts. So k and v are read
once more forward, and q and do once more backward, and of those only what lies within a head's
horizon of the edge.

With packed sequences a state crosses from j to r only if no boundary lies between them, edges
included: then L_j sums the tail of rank j after its last boundary, and M_r the head of rank r
before its first. All of this follows from lengths and boundaries, which every rank knows: what
cannot cross is neither summed nor gathered.

Every rank of the group has to call, forward and backward, in the same order, as for any collective.
Ranks hold consecutive tokens: a zigzag order is not supported.
"""

from __future__ import annotations

from kernels.lightning.sequence_parallel.attention import (
    Attention,
    Gather,
    attend,
    lasp_attention,
)
from kernels.lightning.sequence_parallel.shares import Share, share
from kernels.lightning.sequence_parallel.sums import combine, local_gradient, local_state

__all__ = [
    "Attention",
    "Gather",
    "Share",
    "attend",
    "combine",
    "lasp_attention",
    "local_gradient",
    "local_state",
    "share",
]
