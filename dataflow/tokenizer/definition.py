"""What a byte-level BPE tokenizer is, apart from any library, and the hash that names it.

``tokenizer.json`` spells a byte as a printable character; here tokens are bytes. Source of that
spelling: GPT-2 (Radford et al. 2019), as implemented by ``tokenizers`` 0.23.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import blake3

from dataflow.tokenizer.errors import TokenizerError


def _spelling() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return table


BYTE_OF = _spelling()
"""The byte that each of the 256 printable characters stands for."""
CHARACTER_OF = {byte: character for character, byte in BYTE_OF.items()}


def spell(token: bytes) -> str:
    """A token's bytes in the printable characters of ``tokenizer.json``."""
    return "".join(CHARACTER_OF[byte] for byte in token)


def unspell(token: str) -> bytes:
    """The bytes of a token; inverse of `spell`. ``KeyError`` for another character."""
    return bytes(BYTE_OF[character] for character in token)


@dataclass(frozen=True)
class Definition:
    """A byte-level BPE tokenizer.

    Attributes
    ----------
    pattern : str
        The regular expression that cuts text into pieces.
    tokens : dict of bytes to int
        Every ordinary token and its id: the 256 bytes, and the product of every merge.
    merges : tuple of (bytes, bytes)
        Pairs in order of priority. The product of each is a token; no product occurs twice.
    specials : dict of str to int
        Role to id: ``eod``, ``pad``, ``image`` and so on.
    special_strings : dict of str to int
        How each special is spelled in ``tokenizer.json``, and its id.
    vocab_size : int
        Rows of an embedding: at least the largest id + 1.
    by_rank : bool
        True for a tiktoken vocabulary with tokens that no merge of two earlier ones makes: ids are
        the priorities, ``merges`` holds every split of every token, and a piece that is a token is
        never taken apart.
    """

    pattern: str
    tokens: Mapping[bytes, int]
    merges: tuple[tuple[bytes, bytes], ...]
    specials: Mapping[str, int]
    special_strings: Mapping[str, int]
    vocab_size: int
    by_rank: bool = False
    _cache: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        missing = [byte for byte in range(256) if bytes((byte,)) not in self.tokens]
        if missing:
            raise TokenizerError(
                f"the vocabulary lacks {len(missing)} of the 256 single bytes (first: "
                f"0x{missing[0]:02x}); only byte-level vocabularies can encode every text"
            )
        ids = [*self.tokens.values(), *self.special_strings.values()]
        if len(set(ids)) != len(ids):
            raise TokenizerError("two entries of the vocabulary have the same id")
        if max(ids) >= self.vocab_size:
            raise TokenizerError(f"vocab_size {self.vocab_size} is not above the id {max(ids)}")

    @property
    def hash(self) -> str:
        """16 hex digits: BLAKE3 of the canonical form (pattern, specials, vocabulary, merges).

        It depends on what the tokenizer does, not on how a file spells it.
        """
        if "hash" not in self._cache:
            self._cache["hash"] = blake3.blake3(self._canonical()).hexdigest()[:16]
        return self._cache["hash"]

    def _canonical(self) -> bytes:
        by_id = sorted((i, token) for token, i in self.tokens.items())
        parts = [b"leyden.tokenizer.1\0", struct.pack("<Q?", self.vocab_size, self.by_rank)]
        parts += _framed([self.pattern.encode()])
        for table in (self.specials, self.special_strings):
            parts += _framed(f"{i}\0{name}".encode() for name, i in sorted(table.items()))
        parts += _framed(struct.pack("<Q", i) + token for i, token in by_id)
        parts += _framed(
            struct.pack("<QQ", self.tokens[left], self.tokens[right]) for left, right in self.merges
        )
        return b"".join(parts)

    def ranks(self) -> dict[bytes, int]:
        """Token to priority as tiktoken wants it: bytes first, then merges in order.

        Tokens that no merge makes are left out: no text encodes to them.

        The priority is the id wherever ids ascend in that order, as they do in every tokenizer
        trained here; else they are counted from 0 and the encoder maps them to ids.
        """
        if self.by_rank:
            return dict(self.tokens)
        single = sorted((bytes((b,)) for b in range(256)), key=self.tokens.__getitem__)
        order = [*single, *(left + right for left, right in self.merges)]
        ids = [self.tokens[token] for token in order]
        if all(a < b for a, b in itertools.pairwise(ids)):
            return dict(zip(order, ids, strict=True))
        return {token: rank for rank, token in enumerate(order)}


def _framed(items: Iterable[bytes]) -> list[bytes]:
    """Items with their lengths and their number, so that no two lists look the same."""
    parts = []
    count = 0
    for item in items:
        parts.append(struct.pack("<I", len(item)) + item)
        count += 1
    return [struct.pack("<Q", count), *parts]


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that ``token`` is made of when only earlier merges are applied to its bytes.

    None if they leave more than two parts: then no sequence of merges ever makes this token.
    ``ranks`` is as in tiktoken: two neighbours merge if their bytes joined have a rank.
    """
    limit = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best, at = limit, -1
        for i in range(len(parts) - 1):
            rank = ranks.get(parts[i] + parts[i + 1], limit)
            if rank < best:
                best, at = rank, i
        if at < 0:
            return None
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def added_token(string: str, i: int) -> dict[str, Any]:
    """A special as ``tokenizer.json`` lists it."""
    return {
        "id": i,
        "content": string,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def to_json(definition: Definition) -> dict[str, Any]:
    """``tokenizer.json`` of the ``tokenizers`` library (0.22 to 0.23) as a JSON object.

    Specials stand in the vocabulary too: of those that stand in ``added_tokens`` alone the library
    ignores the ids, and gives them the next free ones.
    """
    by_id = sorted((i, string) for string, i in definition.special_strings.items())
    vocabulary = sorted([*by_id, *((i, spell(token)) for token, i in definition.tokens.items())])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(string, i) for i, string in by_id],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": definition.pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": definition.by_rank,
            "vocab": {token: i for i, token in vocabulary},
            "merges": [[spell(left), spell(right)] for left, right in definition.merges],
        },
    }
