"""Texts as the decoder reads them, and the tokenizer of a run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from dataflow.run import Run
from dataflow.tokenizer import Tokenizer


def as_tokens(tokenizer: Tokenizer, text: str) -> torch.Tensor:
    """The ids of a text, int64 ``[T]``, without any special."""
    return torch.from_numpy(tokenizer.encode(text).astype("int64"))


def run_tokenizer(run: Run) -> Tokenizer:
    """The tokenizer that a run's shards were written with, out of the run.

    Raises
    ------
    TokenizerError
        If it is not what the run's records say.
    """
    outputs = run.tokenizer.outputs
    with tempfile.TemporaryDirectory() as folder:
        for role, name in (("tokenizer", "tokenizer.json"), ("card", "leyden.json")):
            (Path(folder) / name).write_bytes(run.store.read(outputs[role].path))
        tokenizer = Tokenizer.load(folder)
    tokenizer.require(run.tokenizer.stats["hash"], outputs["card"].path)
    return tokenizer
