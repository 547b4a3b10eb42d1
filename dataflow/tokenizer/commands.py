"""What ``python -m dataflow tokenizer train | use | info`` does; each returns its JSON answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataflow.tokenizer.adopting import use
from dataflow.tokenizer.sampling import read_texts, sample_by_hash, text_files
from dataflow.tokenizer.tokenizer import Tokenizer
from dataflow.tokenizer.training import train


def train_command(
    inputs: Sequence[str | Path],
    *,
    vocab_size: int,
    out: str | Path,
    field: str = "text",
    max_bytes: int | None = 1_000_000_000,
    min_frequency: int = 2,
) -> dict[str, Any]:
    """Train a tokenizer from files or runs (`text_files`), and write its folder.

    Parameters
    ----------
    max_bytes : int or None
        Train on a sample of this many bytes, chosen by content hash; None: on everything.

    Raises
    ------
    TokenizerError
        If the inputs cannot be read or yield too small a vocabulary.
    """
    texts = read_texts(text_files(inputs), field)
    chosen = texts if max_bytes is None else sample_by_hash(texts, max_bytes)
    return describe(train(chosen, vocab_size, out, min_frequency=min_frequency), out)


def use_command(
    path: str | Path,
    *,
    out: str | Path,
    specials: Mapping[str, str] | None = None,
    pattern: str | None = None,
    special_ids: Mapping[str, int] | None = None,
    vocab_size: int | None = None,
    reserve: bool = True,
) -> dict[str, Any]:
    """Take a published tokenizer into use (`use`), and write its folder."""
    tokenizer = use(
        path,
        out,
        specials=specials,
        pattern=pattern,
        special_ids=special_ids,
        vocab_size=vocab_size,
        reserve=reserve,
    )
    return describe(tokenizer, out)


def info_command(path: str | Path) -> dict[str, Any]:
    """What a tokenizer folder or file holds; loading a folder checks its hash."""
    return describe(Tokenizer.load(path), path)


def describe(tokenizer: Tokenizer, path: str | Path) -> dict[str, Any]:
    """A tokenizer's facts as a JSON object."""
    found: dict[str, Any] = {
        "path": str(path),
        "hash": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "backend": tokenizer.backend,
        "dtype": str(tokenizer.dtype),
        "specials": tokenizer.specials,
        "provenance": tokenizer.provenance,
    }
    if tokenizer.reason is not None:
        found["reason"] = tokenizer.reason
    return found
