"""A small transformer that reads a document's words and says how far the linear student is off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.text import buffers_of, word_hashes
from quality.reward.labels import HIGHEST, SCORES

PARTS = (128, 32, 32)
"""Words of the beginning, of the middle and of the end."""
LENGTH = sum(PARTS)
PADDING = 0
_MIX = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Shape:
    """Of a network: hashed words 2^``bits``, each of ``width`` numbers; heads of the attention."""

    bits: int = 15
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.2


class Network(nn.Module):
    """Words and linear scores in, corrections in points out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding((1 << shape.bits) + 1, shape.width, padding_idx=PADDING)
        self.places = nn.Parameter(torch.zeros(LENGTH, shape.width))
        layer = nn.TransformerEncoderLayer(
            shape.width,
            shape.heads,
            2 * shape.width,
            shape.dropout,
            "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width + len(SCORES), len(SCORES))
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, words: torch.Tensor, scores: torch.Tensor, used: int = LENGTH
    ) -> torch.Tensor:
        """Corrections.

        Parameters
        ----------
        words : int64[n, LENGTH], hashed words from 1 on, ``PADDING`` behind them
        scores : float32[n, scores], those of the linear student
        used : places from which on every document has ``PADDING``; they are not read

        Returns
        -------
        float32[n, scores].
        """
        words = words[:, :used]
        there = words != PADDING
        # One place is always read, so that a document without words has numbers too.
        there = torch.cat([torch.ones_like(there[:, :1]), there[:, 1:]], dim=1)
        found = self.layers(self.words(words) + self.places[:used], src_key_padding_mask=~there)
        found = self.norm(found) * there[..., None]
        mean = found.sum(dim=1) / there.sum(dim=1, keepdim=True)
        centred = scores / HIGHEST - 0.5
        corrections: torch.Tensor = self.head(torch.cat([mean, centred], dim=1))
        return corrections


def words_of(texts: pa.Array, bits: int) -> NDArray[np.int64]:
    """What a network reads of texts: int64[n, LENGTH].

    All words of a short text; of a longer one those of the beginning, of the middle and of the end.
    """
    hashes, places = word_hashes(*buffers_of(texts))
    buckets = ((hashes * _MIX) >> np.uint64(64 - bits)).astype(np.int64) + 1
    found = np.full((len(texts), LENGTH), PADDING, np.int64)
    first, middle, last = PARTS
    for i in range(len(texts)):
        mine = buckets[places[i] : places[i + 1]]
        if len(mine) > LENGTH:
            start = first + (len(mine) - LENGTH) // 2
            mine = np.concatenate([mine[:first], mine[start : start + middle], mine[-last:]])
        found[i, : len(mine)] = mine
    return found
