"""Trains a byte-level BPE tokenizer with ``tokenizers`` (0.22 to 0.23)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import tokenizers
import xxhash
from tokenizers import Regex, models, pre_tokenizers, trainers

from dataflow.tokenizer.definition import BYTE_OF, Definition
from dataflow.tokenizer.errors import TokenizerError
from dataflow.tokenizer.pattern import PATTERN
from dataflow.tokenizer.reading import definition_from_json
from dataflow.tokenizer.specials import RESERVED, SPECIALS, special_string
from dataflow.tokenizer.tokenizer import Tokenizer

SMALLEST = RESERVED + 256
"""Entries of a vocabulary without any merge."""


def train(
    texts: Iterable[str],
    vocab_size: int,
    out: str | Path | None = None,
    *,
    pattern: str = PATTERN,
    min_frequency: int = 2,
    corpus: Mapping[str, Any] | None = None,
) -> Tokenizer:
    """Train a tokenizer, and write its folder if ``out`` is given.

    The result depends on the texts as a multiset, not on their order: only counts of pieces enter
    it, and ties between pairs are broken by their ids.

    Parameters
    ----------
    texts : iterable of str
        Read once. Memory grows with the number of distinct pieces, not with the text.
    vocab_size : int
        Entries in all: 64 specials, 256 bytes, and merges.
    pattern : str
        The regular expression that cuts texts into pieces.
    min_frequency : int
        Pairs seen fewer times in all the texts are not merged.
    corpus : mapping, optional
        What the texts were, for ``leyden.json``: no paths and no dates.

    Raises
    ------
    TokenizerError
        If the size is too small, or the texts yield too few merges to reach it.
    """
    if vocab_size < SMALLEST:
        raise TokenizerError(f"vocab_size is {vocab_size}, expected at least {SMALLEST}")
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - RESERVED,
        min_frequency=min_frequency,
        initial_alphabet=sorted(BYTE_OF),
        show_progress=False,
    )
    seen = _Seen()
    model.train_from_iterator(seen.watch(texts), trainer)
    data = orjson.loads(model.to_str())
    found = RESERVED + len(data["model"]["vocab"])
    if found < vocab_size:
        raise TokenizerError(
            f"the texts ({seen.documents} documents, {seen.bytes} bytes) yield a vocabulary of "
            f"{found}, not {vocab_size}; give more text or a vocab_size of at most {found}"
        )
    # Rules learnt without the specials have ids from 0; here they follow the reserved ids.
    data["model"]["vocab"] = {t: i + RESERVED for t, i in data["model"]["vocab"].items()}
    bare = definition_from_json(data, {}, vocab_size)
    definition = Definition(
        bare.pattern,
        bare.tokens,
        bare.merges,
        SPECIALS,
        {special_string(role): i for role, i in SPECIALS.items()},
        vocab_size,
    )
    provenance = {
        "documents": seen.documents,
        "bytes": seen.bytes,
        "texts": f"{seen.digest:032x}",
        "min_frequency": min_frequency,
        "trainer": f"tokenizers {tokenizers.__version__}",
        **(corpus or {}),
    }
    tokenizer = Tokenizer.of(definition, provenance)
    if out is not None:
        tokenizer.save(out)
    return tokenizer


class _Seen:
    """Counts and hashes the texts that pass, whatever their order."""

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self.digest = 0

    def watch(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            data = text.encode()
            self.documents += 1
            self.bytes += len(data)
            self.digest = (self.digest + xxhash.xxh3_128_intdigest(data)) % (1 << 128)
            yield text
