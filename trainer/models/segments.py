"""Boundaries of the segments that a micro-batch packs end to end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor


@dataclass
class Packed(PackedSeqParams):  # type: ignore[misc]
    """Megatron-Core's record of boundaries, and which tokens only fill a place.

    ``padding``: bool ``[T]``, or None where there is none. These have no labels, and no expert
    takes them: they use up no capacity, and count neither in the load of routers nor in their
    auxiliary loss.
    """

    padding: Tensor | None = None


def pack(cu_seqlens: Tensor, longest: int, padding: Tensor | None = None) -> Packed:
    """The record of boundaries ``cu_seqlens``, int32 ``[n + 1]`` from 0 to T; see :class:`Packed`.

    ``longest``: the tokens of the longest segment, or a bound on it, known without asking a GPU.
    """
    return Packed(
        qkv_format="thd",
        cu_seqlens_q=cu_seqlens,
        cu_seqlens_kv=cu_seqlens,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
        padding=padding,
    )


def whole_sequences(tokens: int, sequence_tokens: int, device: torch.device) -> Packed:
    """The boundaries of ``tokens`` cut at every multiple of ``sequence_tokens`` and nowhere else.

    Raises:
        ValueError: where the last sequence would be cut short.
    """
    if tokens % sequence_tokens:
        raise ValueError(
            f"found {tokens} tokens, expected whole sequences of {sequence_tokens}; pad the last"
        )
    cuts = torch.arange(0, tokens + 1, sequence_tokens, dtype=torch.int32, device=device)
    return pack(cuts, sequence_tokens)


def padding_of(packed: PackedSeqParams | None) -> Tensor | None:
    """Which tokens only fill a place, bool ``[T]``; None where none does."""
    return packed.padding if isinstance(packed, Packed) else None


def boundaries(packed: PackedSeqParams | None) -> tuple[Tensor, int]:
    """``cu_seqlens`` and the bound on a segment's tokens that a mixer was given.

    Raises:
        ValueError: without boundaries: segments would run into each other unseen.
    """
    if packed is None or packed.cu_seqlens_q is None or packed.max_seqlen_q is None:
        raise ValueError(
            f"found packed_seq_params {packed}, expected cu_seqlens_q and max_seqlen_q; make them "
            "with trainer.models.segments.pack"
        )
    return packed.cu_seqlens_q, int(packed.max_seqlen_q)
