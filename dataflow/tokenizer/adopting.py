"""Takes a published tokenizer into use: checks it, reserves missing specials, writes the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from dataflow.tokenizer.specials import ROLES, SPECIALS, special_string
from dataflow.tokenizer.tokenizer import Tokenizer


def use(
    path: str | Path,
    out: str | Path | None = None,
    *,
    specials: Mapping[str, str] | None = None,
    pattern: str | None = None,
    special_ids: Mapping[str, int] | None = None,
    vocab_size: int | None = None,
    reserve: bool = True,
) -> Tokenizer:
    """Make the artefact of a given ``tokenizer.json`` or ``.tiktoken`` file.

    Parameters
    ----------
    path, specials, pattern, special_ids, vocab_size :
        As in `Tokenizer.load`.
    out : path, optional
        The folder to write.
    reserve : bool
        Give the roles that the file has no special for (image, chat turns, …) ids after its last
        one. False keeps the ids exactly as published.

    Raises
    ------
    TokenizerError
        As `Tokenizer.load` does.
    """
    tokenizer = Tokenizer.load(
        path, specials=specials, pattern=pattern, special_ids=special_ids, vocab_size=vocab_size
    )
    if reserve:
        tokenizer = _with_all_roles(tokenizer)
    if out is not None:
        tokenizer.save(out)
    return tokenizer


def _with_all_roles(tokenizer: Tokenizer) -> Tokenizer:
    missing = [role for role in SPECIALS if role in ROLES and role not in tokenizer.specials]
    start = tokenizer.last_id + 1
    added = {role: start + i for i, role in enumerate(missing)}
    specials = {**tokenizer.specials, **added}
    size = max(tokenizer.vocab_size, start + len(missing))
    strings = {special_string(role): i for role, i in added.items()}
    if tokenizer.definition is not None:
        return Tokenizer.of(
            dataclasses.replace(
                tokenizer.definition,
                specials=specials,
                special_strings={**tokenizer.definition.special_strings, **strings},
                vocab_size=size,
                _cache={},
            ),
            tokenizer.provenance,
        )
    return tokenizer.with_specials(specials, strings, size)
