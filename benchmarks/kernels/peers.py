"""Other causal attention, in linear or quadratic time, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import NamedTuple

import torch
from torch import Tensor

FLA, OFFICIAL = "flash-linear-attention", "Lightning-2, official"
SOFTMAX = "softmax attention, torch"


class Peer(NamedTuple):
    """``call(q, k, v, slopes)`` gives o; all of them ``[B, H, T, D]`` when ``heads_first``, else
    ``[B, T, H, D]``. ``same``: it computes what ours does.
    """

    name: str
    call: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    heads_first: bool
    same: bool


def peers() -> Iterator[Peer]:
    """Those that are installed, and PyTorch's softmax attention."""
    if importlib.util.find_spec("fla") is not None:
        yield Peer(FLA, _fla, heads_first=False, same=True)
    if importlib.util.find_spec("lightning_attn") is not None:
        yield Peer(OFFICIAL, _official, heads_first=True, same=True)
    yield Peer(SOFTMAX, _softmax, heads_first=True, same=False)


def described() -> str:
    """Versions, and what is absent."""
    parts = []
    for module, names in (
        ("fla", ("flash-linear-attention", "fla-core")),
        ("lightning_attn", ("lightning_attn", "lightning_attn2")),
    ):
        if importlib.util.find_spec(module) is None:
            parts.append(f"{names[0]} absent")
            continue
        versions = []
        for name in names:
            try:
                versions.append(f"{name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                continue
        parts.append(versions[0] if versions else f"{module} of no known version")
    return ", ".join(parts)


def _fla(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Tensor:
    # Its chunk_lightning_attn has slopes and a scale of its own; this is the same kernel without.
    from fla.ops.simple_gla import chunk_simple_gla  # type: ignore[import-not-found]

    out: Tensor = chunk_simple_gla(q, k, v, g_gamma=-slopes, scale=1.0)[0]
    return out


def _official(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Tensor:
    from lightning_attn.ops import lightning_attn_func  # type: ignore[import-not-found]

    out: Tensor = lightning_attn_func(q, k, v, slopes.reshape(-1, 1, 1))
    return out


def _softmax(q: Tensor, k: Tensor, v: Tensor, _: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
