"""Reads the two file formats in which byte-level BPE vocabularies are published.

A ``tokenizer.json`` of ``tokenizers``, and a ``.tiktoken`` file (``base64 rank`` lines). Either
becomes a `Definition`, if tiktoken can serve it with the same ids; `Unservable` says why not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dataflow.tokenizer.definition import Definition, last_merge, unspell
from dataflow.tokenizer.errors import TokenizerError
from dataflow.tokenizer.pattern import GPT2_PATTERN
from dataflow.tokenizer.specials import SPECIALS, special_string

END_OF_DOCUMENT = ("<|eod|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_document>", "</s>")
"""Spellings under which the end of a document is found when nobody says which special it is."""


class Unservable(TokenizerError):
    """A ``tokenizer.json`` that ``tokenizers`` can run and tiktoken cannot, with the reason."""


def parse_json(path: Path) -> dict[str, Any]:
    """The JSON object of ``tokenizer.json``; `TokenizerError` if the file is something else."""
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; expected a tokenizer.json") from error
    except orjson.JSONDecodeError as error:
        raise TokenizerError(f"{path}: not JSON ({error}); expected a tokenizer.json") from error
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict) or "vocab" not in model:
        raise TokenizerError(f"{path}: no `model.vocab`; expected a tokenizer.json of `tokenizers`")
    return dict(found)


def special_roles(
    strings: Mapping[str, int], asked: Mapping[str, str] | None, where: str
) -> dict[str, int]:
    """Roles and their ids, from the specials of a file and what the user says of them.

    Parameters
    ----------
    strings : mapping
        The specials of the file: spelling to id.
    asked : mapping or None
        Role to spelling, such as ``{"eod": "<|endoftext|>"}``. Specials spelled as this project
        spells them (``<|image|>``) are found without it, ``eod`` also under its usual spellings.
    where : str
        The file, for errors.
    """
    roles = {
        role: strings[special_string(role)] for role in SPECIALS if special_string(role) in strings
    }
    for role, string in (asked or {}).items():
        if role not in SPECIALS:
            raise TokenizerError(
                f"{where}: no role {role!r}; expected one of {', '.join(sorted(SPECIALS)[:12])}, …"
            )
        if string not in strings:
            raise TokenizerError(
                f"{where}: special {string!r} for role {role!r} is not in the file; it has "
                f"{', '.join(sorted(strings)[:12]) or 'none'}"
            )
        roles[role] = strings[string]
    if "eod" not in roles:
        known = [string for string in END_OF_DOCUMENT if string in strings]
        if not known:
            raise TokenizerError(
                f"{where}: none of its specials is known to end a document; name it with "
                f"--special eod=SPELLING (it has {', '.join(sorted(strings)[:12]) or 'none'})"
            )
        roles["eod"] = strings[known[0]]
    return roles


def definition_from_json(
    data: Mapping[str, Any], specials: Mapping[str, int], vocab_size: int, *, checked: bool = False
) -> Definition:
    """The definition in a parsed ``tokenizer.json``.

    Parameters
    ----------
    checked : bool
        Trust that the merges are as tiktoken would apply them: for files that were checked when
        they were written into an artefact (the check takes some 10 µs a token).

    Raises
    ------
    Unservable
        If tiktoken would give other ids, or might.
    """
    model = data["model"]
    _need(model.get("type") == "BPE", f"its model is {model.get('type')}, not BPE")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        _need(not model.get(key), f"its model sets `{key}`")
    _need(data.get("normalizer") is None, "it normalizes text")
    pattern = _pattern(data.get("pre_tokenizer"))
    strings: dict[str, int] = {}
    for added in data.get("added_tokens", ()):
        _need(bool(added.get("special")), f"it adds {added['content']!r} as ordinary text")
        strings[added["content"]] = added["id"]
    try:
        tokens = {unspell(t): i for t, i in model["vocab"].items() if t not in strings}
        merges = [tuple(m.split(" ", 1) if isinstance(m, str) else m) for m in model["merges"]]
        pairs = [(unspell(left), unspell(right)) for left, right in merges]
    except KeyError as error:
        raise Unservable(f"its vocabulary is not byte-level (found {error})") from error
    by_rank = bool(model.get("ignore_merges"))
    if checked:
        return Definition(
            pattern, tokens, tuple(pairs), specials, strings, vocab_size, by_rank=by_rank
        )
    first: dict[bytes, tuple[bytes, bytes]] = {}
    for left, right in pairs:
        first.setdefault(left + right, (left, right))
    lone = [token for token in tokens if len(token) > 1 and token not in first]
    _need(not lone, f"{len(lone)} tokens are made by no merge, such as {lone[:1]}")
    _need(set(first) <= set(tokens), "a merge makes a token that is not in the vocabulary")
    found = Definition(pattern, tokens, tuple(first.values()), specials, strings, vocab_size)
    ranks = found.ranks()
    for token, pair in first.items():
        _need(last_merge(token, ranks) == pair, f"its merges do not lead to token {token!r}")
    return found


def _pattern(pre_tokenizer: Any) -> str:
    """The regular expression of a pre-tokenizer of a known shape."""
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = list(pre_tokenizer["pretokenizers"])
    last = steps[-1] if steps and isinstance(steps[-1], dict) else {}
    _need(last.get("type") == "ByteLevel", "its pre-tokenizer does not end in ByteLevel")
    _need(not last.get("add_prefix_space", True), "it puts a blank before every text")
    if len(steps) == 1:
        _need(bool(last.get("use_regex", True)), "it does not cut text into pieces")
        return GPT2_PATTERN
    split = steps[0]
    simple = (
        len(steps) == 2
        and not last.get("use_regex", True)
        and split.get("type") == "Split"
        and split.get("behavior") == "Isolated"
        and not split.get("invert")
        and "Regex" in split.get("pattern", {})
    )
    _need(simple, "its pre-tokenizer is more than one split by a regular expression")
    return str(split["pattern"]["Regex"])


def _need(fact: bool, otherwise: str) -> None:
    if not fact:
        raise Unservable(otherwise)


def definition_from_tiktoken(
    path: Path,
    pattern: str,
    strings: Mapping[str, int],
    roles: Mapping[str, str] | None = None,
    vocab_size: int | None = None,
) -> Definition:
    """The definition in a ``.tiktoken`` file.

    Parameters
    ----------
    pattern : str
        The regular expression that goes with the file; the format does not hold it.
    strings : mapping
        Its specials, spelling to id; the format does not hold them either.
    """
    tokens: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line:
            try:
                token, rank = line.split()
                tokens[base64.b64decode(token, validate=True)] = int(rank)
            except (ValueError, binascii.Error) as error:
                raise TokenizerError(
                    f"{path}: line {number}: found {line[:60]!r}, expected `base64 rank`"
                ) from error
    if len(set(tokens.values())) != len(tokens) or not tokens:
        raise TokenizerError(f"{path}: found {len(tokens)} tokens, expected distinct ranks")
    specials = special_roles(strings, roles, str(path))
    size = vocab_size or 1 + max([*tokens.values(), *strings.values()])
    longer = sorted((t for t in tokens if len(t) > 1), key=tokens.__getitem__)
    merges = [last_merge(token, tokens) for token in longer]
    proper = [merge for merge in merges if merge is not None]
    by_rank = len(proper) < len(merges)
    if by_rank:
        proper = [
            (token[:i], token[i:])
            for token in longer
            for i in range(1, len(token))
            if token[:i] in tokens and token[i:] in tokens
        ]
    return Definition(pattern, tokens, tuple(proper), specials, strings, size, by_rank=by_rank)
