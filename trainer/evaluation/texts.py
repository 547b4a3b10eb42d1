"""Texts as the decoder reads them, and the tokenizer of a run."""

from __future__ import annotations

import torch

from dataflow.tokenizer import Tokenizer


def as_tokens(tokenizer: Tokenizer, text: str) -> torch.Tensor:
    """The ids of a text, int64 ``[T]``, without any special."""
    return torch.from_numpy(tokenizer.encode(text).astype("int64"))
