"""The tokenizer that lies beside a model's weights, and whether it is theirs."""

from __future__ import annotations

from pathlib import Path

from dataflow.tokenizer import Tokenizer
from trainer.convert.errors import ConversionError

TOKENIZER = "tokenizer"
"""A folder of a run and of an export: the artefact, as ``Tokenizer.save`` writes it."""


def tokenizer_beside(folder: Path) -> Tokenizer | None:
    """The tokenizer in a run's or an exported folder, or None. Raises TokenizerError."""
    path = folder / TOKENIZER
    return Tokenizer.load(path) if path.is_dir() else None


def fitting(tokenizer: Tokenizer, rows: int | None, where: str) -> int:
    """Rows of the embedding: ``rows``, or the tokenizer's where that is None.

    Raises ConversionError when the tokenizer has entries that no row is for.
    """
    if rows is not None and rows < tokenizer.vocab_size:
        raise ConversionError(
            f"{where}: found an embedding of {rows} rows, the tokenizer {tokenizer.hash} has "
            f"{tokenizer.vocab_size} entries; name the tokenizer that the model was trained with"
        )
    return tokenizer.vocab_size if rows is None else rows
