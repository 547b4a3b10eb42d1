"""Slopes ``s`` of the decay ``λ = exp(-s)``, one per head: the formulas that are in use.

Every operator takes slopes as data, a float32 tensor ``[heads]`` of values ``>= 0``. They are fixed
and not learned: learning them ended in NaN (TNL, arXiv:2405.17381, at eq. 10). The papers print
a slope that is linear in the head; every code released by their authors uses ALiBi's geometric one.
All formulas are evaluated in float64 and rounded once.
"""

from __future__ import annotations

import torch

FLOOR = 1e-5
"""What the released code adds to the layer's factor, so that the last layer also decays."""


def alibi_slopes(heads: int, layer: int, layers: int) -> torch.Tensor:
    """``s_h = alibi_h · (1 - layer/(layers - 1) + 1e-5)``: slopes of the released models.

    For ``heads`` a power of two ``alibi_h = 2^(-8(h+1)/heads)``. Otherwise ALiBi's rule: with ``c``
    the largest power of two below ``heads``, the first ``c`` heads have the values of ``c`` heads,
    the others every second value of ``2c`` heads. A model of one layer has the factor of a first
    layer.

    Sources: the released ``modeling_minimax_text_01.py`` (``_build_slope_tensor`` and the loop over
    layers); OpenNLPLab's LASP, ``build_slope_tensor``; ALiBi, arXiv:2108.12409, and its code.

    Args:
        heads: number of heads, ``>= 1``.
        layer: 0-based index of the layer among all layers, whatever their kind.
        layers: number of all layers (80 in MiniMax-Text-01).

    Returns:
        float32 ``[heads]``.
    """
    _check(heads, layer, layers)
    factor = 1 - layer / max(layers - 1, 1) + FLOOR
    return (_geometric(heads) * factor).float()


def hugging_face_slopes(heads: int, layer: int, layers: int) -> torch.Tensor:
    """``s_h = 2^(-8(h+1)/heads) · (1 - layer/(layers - 1 + 1e-5) + 1e-5)``.

    What transformers' ``MiniMaxLightningAttention.get_slope_rate`` computes (read in 4.57.6 and
    5.23.0). It differs from :func:`alibi_slopes` in the divisor, which doubles the slopes of the
    last of two layers, and by not interleaving when ``heads`` is no power of two. Arguments and
    result as there.
    """
    _check(heads, layer, layers)
    factor = 1 - layer / (layers - 1 + FLOOR) + FLOOR
    return (_powers(heads) * factor).float()


def linear_slopes(heads: int, layer: int, layers: int) -> torch.Tensor:
    """``s_h = (8h/heads) · (1 - layer/layers)``, with h from 0: head 0 never decays.

    As TransNormerLLM (arXiv:2307.14995) and TNL (arXiv:2405.17381, eq. 10) print it. Arguments and
    result as for :func:`alibi_slopes`.
    """
    _check(heads, layer, layers)
    h = torch.arange(heads, dtype=torch.float64)
    return (8 * h / heads * (1 - layer / layers)).float()


def no_decay(heads: int) -> torch.Tensor:
    """``s_h = 0``: plain causal linear attention, as MiniMax-01 §2.2.1 derives it."""
    _check(heads, 0, 1)
    return torch.zeros(heads, dtype=torch.float32)


def _powers(heads: int) -> torch.Tensor:
    """float64 ``[heads]``: ``2^(-8(h+1)/heads)``."""
    h = torch.arange(1, heads + 1, dtype=torch.float64)
    return torch.exp2(-8 * h / heads)


def _geometric(heads: int) -> torch.Tensor:
    """float64 ``[heads]``: ALiBi's slopes, interleaved when ``heads`` is no power of two."""
    below = 1 << (heads.bit_length() - 1)
    return torch.cat([_powers(below), _powers(2 * below)[::2][: heads - below]])


def _check(heads: int, layer: int, layers: int) -> None:
    if heads < 1:
        raise ValueError(f"found {heads} heads; expected at least 1")
    if not 0 <= layer < layers:
        raise ValueError(
            f"found layer {layer} of {layers}; expected an index from 0 to {layers - 1}"
        )
