"""The tokenizer that turns documents into ids: tiktoken's engine, checked against `tokenizers`.

One core encodes several times more text with tiktoken than with ``tokenizers``
(``benchmarks/RESULTS.md``); the ids are the same, which the tests hold on text of every script.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import blake3
import numpy as np
import numpy.typing as npt
import orjson
import tiktoken
import tokenizers

from dataflow.tokenizer.definition import Definition, added_token, to_json
from dataflow.tokenizer.errors import TokenizerError, TokenizerMismatch
from dataflow.tokenizer.reading import (
    Unservable,
    definition_from_json,
    definition_from_tiktoken,
    parse_json,
    special_roles,
)

Ids = npt.NDArray[np.uint32]

FORMAT = "leyden.tokenizer"
VERSION = 1
TOKENIZER_FILE = "tokenizer.json"
ARTEFACT_FILE = "leyden.json"

# tiktoken looks for specials in a text only to leave them alone here; one that hardly any text
# holds makes that search cost nothing.
_SENTINEL = "\U0010fffd<|leyden|>\U0010fffd"


class Tokenizer:
    """A tokenizer, immutable. Make one with `load`, `train` or `use`.

    Attributes
    ----------
    hash : str
        16 hex digits, of what the tokenizer does (`Definition.hash`).
    vocab_size : int
        Rows of an embedding.
    specials : dict of str to int
        Role to id; ``eod`` is always there.
    backend : str
        ``tiktoken``, or ``tokenizers`` when tiktoken cannot serve this tokenizer with equal ids.
    reason : str or None
        Why the backend is not tiktoken.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        definition: Definition | None,
        *,
        specials: Mapping[str, int],
        vocab_size: int,
        reason: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self._data = data
        self.definition = definition
        self.specials = dict(specials)
        self.vocab_size = vocab_size
        self.backend = "tokenizers" if definition is None else "tiktoken"
        self.reason = reason
        self.provenance = dict(provenance or {})
        self.hash = definition.hash if definition else _json_hash(data, specials, vocab_size)
        self._reference: Any = None
        self._bytes: list[bytes] | None = None
        self._ids: Ids | None = None
        self._encoding: Any = None
        if definition is not None:
            ranks = definition.ranks()
            if any(definition.tokens[token] != rank for token, rank in ranks.items()):
                self._ids = np.zeros(max(ranks.values()) + 1, dtype=np.uint32)
                for token, rank in ranks.items():
                    self._ids[rank] = definition.tokens[token]
            self._encoding = tiktoken.Encoding(
                self.hash,
                pat_str=definition.pattern,
                mergeable_ranks=ranks,
                special_tokens={_SENTINEL: max(definition.vocab_size, len(ranks))},
            )

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        specials: Mapping[str, str] | None = None,
        pattern: str | None = None,
        special_ids: Mapping[str, int] | None = None,
        vocab_size: int | None = None,
    ) -> Tokenizer:
        """Read a tokenizer.

        Parameters
        ----------
        path : path
            An artefact folder; or a ``tokenizer.json``; or a ``.tiktoken`` file.
        specials : mapping, optional
            For the bare files: role to spelling, such as ``{"eod": "<|endoftext|>"}``.
        pattern, special_ids :
            For ``.tiktoken``, which holds neither: the regular expression, and the specials'
            spellings and ids.
        vocab_size : int, optional
            For the bare files: rows of the embedding, where more than the largest id + 1.

        Raises
        ------
        TokenizerError
            Naming the file, what was found and what was expected.
        """
        path = Path(path)
        if path.is_dir():
            return cls._load_artefact(path)
        if path.suffix == ".tiktoken":
            if pattern is None or special_ids is None:
                raise TokenizerError(
                    f"{path}: a tiktoken file holds neither its pattern nor its specials; give both"
                )
            found = definition_from_tiktoken(path, pattern, special_ids, specials, vocab_size)
            return cls.of(found)
        data = parse_json(path)
        strings = {a["content"]: a["id"] for a in data.get("added_tokens", ()) if a.get("special")}
        roles = special_roles(strings, specials, str(path))
        size = vocab_size or 1 + max([*_vocabulary(data).values(), *strings.values()])
        try:
            tokenizer = cls.of(definition_from_json(data, roles, size))
            _probe(tokenizer)
        except Unservable as error:
            tokenizer = cls(data, None, specials=roles, vocab_size=size, reason=str(error))
        return tokenizer

    @classmethod
    def of(cls, definition: Definition, provenance: Mapping[str, Any] | None = None) -> Tokenizer:
        """The tokenizer of a definition."""
        return cls(
            to_json(definition),
            definition,
            specials=definition.specials,
            vocab_size=definition.vocab_size,
            provenance=provenance,
        )

    @classmethod
    def _load_artefact(cls, folder: Path) -> Tokenizer:
        where = folder / ARTEFACT_FILE
        try:
            card = orjson.loads(where.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise TokenizerError(
                f"{where}: {error}; expected a tokenizer folder, as `python -m dataflow tokenizer "
                "train` and `use` write it"
            ) from error
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise TokenizerError(f"{where}: `format` is not {FORMAT!r}")
        if card.get("version") != VERSION:
            raise TokenizerError(
                f"{where}: found version {card.get('version')}, expected {VERSION}; this folder "
                "was written by another version of Leyden"
            )
        data = parse_json(folder / TOKENIZER_FILE)
        definition = None
        if card["backend"] == "tiktoken":
            definition = definition_from_json(
                data, card["specials"], card["vocab_size"], checked=True
            )
        tokenizer = cls(
            data,
            definition,
            specials=card["specials"],
            vocab_size=card["vocab_size"],
            reason=card.get("reason"),
            provenance=card.get("provenance"),
        )
        if tokenizer.hash != card["hash"]:
            raise TokenizerError(
                f"{folder / TOKENIZER_FILE}: its hash is {tokenizer.hash}, expected {card['hash']} "
                f"as {ARTEFACT_FILE} says; the file was changed: restore it, or make a new folder "
                "with `python -m dataflow tokenizer use`"
            )
        return tokenizer

    def save(self, folder: str | Path) -> None:
        """Write the artefact: ``tokenizer.json`` and ``leyden.json``, bytes alike everywhere."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        card: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "hash": self.hash,
            "backend": self.backend,
            "vocab_size": self.vocab_size,
            "specials": self.specials,
            "provenance": self.provenance,
        }
        if self.reason is not None:
            card["reason"] = self.reason
        (folder / TOKENIZER_FILE).write_bytes(orjson.dumps(self._data) + b"\n")
        (folder / ARTEFACT_FILE).write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2) + b"\n")

    @property
    def eod(self) -> int:
        """The id that ends a document."""
        return self.specials["eod"]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of ids in shards: uint16 if every id fits, else uint32."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def encode(self, text: str) -> Ids:
        """The ids of one text, uint32, without any special. Runs on the calling thread only.

        Raises
        ------
        UnicodeEncodeError
            If the text holds a lone surrogate.
        """
        if self._encoding is None:
            return self._encode_by_reference(text)
        try:
            ranks = self._encoding.encode_to_numpy(text, disallowed_special=())
        except UnicodeEncodeError:
            raise
        except ValueError:
            # A foreign pattern with an unbounded repeat runs fancy-regex out of stack on a long
            # run of blanks; Oniguruma gets through.
            return self._encode_by_reference(text)
        return cast(Ids, ranks if self._ids is None else self._ids[ranks])

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]:
        """The ids of each text, in order."""
        return [self.encode(text) for text in texts]

    def reference_encode(self, texts: Iterable[str]) -> list[Ids]:
        """The ids as ``tokenizers`` gives them: the judge of `encode_batch`."""
        return [self._encode_by_reference(text) for text in texts]

    def _encode_by_reference(self, text: str) -> Ids:
        encoding = self.reference.encode(text, add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.uint32)

    @property
    def reference(self) -> Any:
        """The ``tokenizers.Tokenizer``, which takes specials spelled in text for text."""
        if self._reference is None:
            self._reference = tokenizers.Tokenizer.from_str(orjson.dumps(self._data).decode())
            self._reference.encode_special_tokens = True
        return self._reference

    @functools.cached_property
    def token_bytes(self) -> npt.NDArray[np.int64]:
        """How many bytes of text the token with each id holds; 0 for specials and for unused ids.

        Only for a tokenizer that has a definition.
        """
        sizes = np.zeros(self.vocab_size, np.int64)
        assert self.definition is not None, "tokenizers itself knows no bytes of tokens"
        for token, i in self.definition.tokens.items():
            sizes[i] = len(token)
        return sizes

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """The UTF-8 bytes of ids; inverse of `encode`. A special gives its spelling."""
        if self.definition is None:
            numbers = [int(i) for i in ids]
            return str(self.reference.decode(numbers, skip_special_tokens=False)).encode()
        if self._bytes is None:
            self._bytes = [b""] * self.vocab_size
            for token, i in self.definition.tokens.items():
                self._bytes[i] = token
            for string, i in self.definition.special_strings.items():
                self._bytes[i] = string.encode()
        return b"".join([self._bytes[i] for i in ids])

    @property
    def last_id(self) -> int:
        """The largest id in use; ``vocab_size`` may be larger."""
        added: list[int] = [entry["id"] for entry in self._data.get("added_tokens", ())]
        return max(itertools.chain(_vocabulary(self._data).values(), added))

    def with_specials(
        self, specials: Mapping[str, int], strings: Mapping[str, int], vocab_size: int
    ) -> Tokenizer:
        """This tokenizer, run by ``tokenizers``, with more specials (spelling to id)."""
        data = {
            **self._data,
            "added_tokens": [
                *self._data.get("added_tokens", ()),
                *(added_token(string, i) for string, i in strings.items()),
            ],
        }
        return Tokenizer(
            data,
            None,
            specials=specials,
            vocab_size=vocab_size,
            reason=self.reason,
            provenance=self.provenance,
        )

    def require(self, found: str, where: str, run: str = "RUN") -> None:
        """`TokenizerMismatch` unless ``found`` is this tokenizer's hash."""
        if found != self.hash:
            raise TokenizerMismatch(found, self.hash, where, run)


def _vocabulary(data: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = data["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return vocabulary
    return {str(entry[0]): i for i, entry in enumerate(vocabulary)}


def _json_hash(data: Mapping[str, Any], specials: Mapping[str, int], vocab_size: int) -> str:
    """The hash of a tokenizer that only ``tokenizers`` can run: of its settings, keys sorted."""
    parts = ("added_tokens", "normalizer", "pre_tokenizer", "model")
    form = [{part: data.get(part) for part in parts}, dict(specials), vocab_size]
    canonical = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
    return blake3.blake3(b"leyden.tokenizer.json.1\0" + canonical).hexdigest()[:16]


def _probe(tokenizer: Tokenizer) -> None:
    """`Unservable` unless both engines cut text alike, on all kinds of characters."""
    # Characters next to one of another category, where classes begin and end, and every 16th.
    kinds = [unicodedata.category(chr(c)) for c in range(0x110000)]
    points = [
        chr(c)
        for c in range(1, 0x10FFFF)
        if kinds[c] != "Cs" and (c % 16 == 0 or not kinds[c - 1] == kinds[c] == kinds[c + 1])
    ]
    common = points[:0x800]
    probes = ["".join(points[i : i + 4096]) for i in range(0, len(points), 4096)] + [
        " ".join(common),
        "a".join(common),
        "\n  ".join(common[:0x100]),
        "1".join(common[:0x100]),
        "It's 1,234.5 o'clock; WE'LL  see...\r\n\r\n\tdef f(x):\n        return x\n   \n" * 3,
    ]
    for text in probes:
        ids = tokenizer.encode(text)
        if tokenizer.decode(ids) != text.encode():
            raise Unservable("its pattern leaves out some characters")
        if not np.array_equal(ids, tokenizer.reference_encode([text])[0]):
            raise Unservable("tiktoken and tokenizers cut text differently with its pattern")
