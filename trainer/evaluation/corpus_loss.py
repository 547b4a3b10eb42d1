"""Loss and bits per byte over the held-out documents of a corpus.

A document is scored as it is trained on: alone, from its first token, which nothing precedes and
nothing predicts, to its end of document, which is predicted. Nats are of the tokens from the
second on; bytes are the text bytes of these tokens: the document's, without those of its first
token. The end of document has no bytes, and its nats count: to say where a text ends is part of
saying the text. All of a text is scored, also what carries no loss in training.

Of a document with images those tokens are scored that carry loss in training, such as answers, with
the ends of their turns, and the bytes are theirs. A model without a vision tower is not asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch

from dataflow.tokenizer import Tokenizer
from mixtures.lengths import LengthClass, bounds
from trainer.data.corpus import Corpus
from trainer.data.pictures import Pictures, images_of
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.held_out import Choice, HeldOut, Read, choose, read
from trainer.evaluation.likelihood import BATCH_TOKENS, Progress, batches, silent
from trainer.evaluation.statistics import Estimate, Numbers, ratio
from trainer.generation.decoder import Decoder

L1 = 1 << 17
"""MiniMax-01's ``text_128k`` length, to which the length classes are relative."""


@dataclass(frozen=True)
class Group:
    """A source, a length class, a stretch of positions, or everything.

    ``loss`` in nats a token; ``bits_per_byte`` None where bytes were not counted. Errors are over
    documents.
    """

    name: str
    documents: int
    tokens: int
    loss: Estimate
    bits_per_byte: Estimate | None

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        bits = self.bits_per_byte
        return {
            "name": self.name,
            "documents": self.documents,
            "tokens": self.tokens,
            "loss": self.loss.as_json(),
            "bits_per_byte": None if bits is None else bits.as_json(),
        }


@dataclass(frozen=True)
class CorpusLoss:
    """Losses of a model: over all, by source, by length class, by position.

    ``available``: documents and tokens of each source that were held out, read or not; ``unseen``
    documents with images were left out (`trainer.evaluation.held_out.Choice`).
    ``l1``: tokens that the classes of ``lengths`` are relative to.
    ``positions``: groups of tokens at 1, 2 to 3, 4 to 7, … in their documents, the first being 0.
    """

    all: Group
    sources: tuple[Group, ...]
    lengths: tuple[Group, ...]
    positions: tuple[Group, ...]
    available: dict[str, tuple[int, int]]
    l1: int
    unseen: int = 0

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return {
            "l1": self.l1,
            "unseen": self.unseen,
            "all": self.all.as_json(),
            **{
                name: [group.as_json() for group in getattr(self, name)]
                for name in ("sources", "lengths", "positions")
            },
            "available": {
                source: {"documents": documents, "tokens": tokens}
                for source, (documents, tokens) in self.available.items()
            },
        }


def corpus_loss(
    decoder: Decoder,
    tokenizer: Tokenizer,
    corpus: Corpus,
    *,
    tokens: int = 1 << 20,
    longest: int = 1 << 13,
    l1: int = L1,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
) -> CorpusLoss:
    """Score held-out documents.

    Parameters
    ----------
    tokenizer : Tokenizer
        The corpus' and the model's.
    tokens, longest : int
        As for `choose`.
    l1 : int
        Tokens that the length classes of documents are relative to (`mixtures.lengths`); a
        document is of the class of its whole length, also where it is cut.
    batch_tokens : int
        Read at once.
    progress :
        Told of tokens.

    Raises
    ------
    EvaluationError
        If the corpus has another tokenizer, or nothing held out.
    BadShard
        If a shard is not what the run wrote.
    """
    if corpus.tokenizer != tokenizer.hash:
        raise EvaluationError(
            f"{corpus.run.store.uri}: found tokens of tokenizer {corpus.tokenizer}, the model has "
            f"{tokenizer.hash}; run `python -m dataflow retokenize` with the model's tokenizer"
        )
    tiling = None if decoder.vision is None else decoder.vision.tiling
    choice = choose(corpus, tokens=tokens, longest=longest, tiling=tiling)
    documents = choice.documents
    buckets = max(d.taken for d in documents).bit_length()
    nats = np.zeros((len(documents), buckets))
    scored = np.zeros((len(documents), buckets))
    bytes_ = np.zeros(len(documents))
    total, done = sum(d.taken for d in documents), 0
    with ExitStack() as stack:
        pictures = None
        if tiling is not None and any(document.images for document in documents):
            beside = decoder.device.type == "cuda"
            pictures = stack.enter_context(Pictures(corpus, tiling, processes=beside))
        for numbers, texts in read(corpus, documents, pictures):
            for i, text in zip(numbers, texts, strict=True):
                bytes_[i] = _bytes_predicted(tokenizer, documents[i], text)
            for batch in batches([len(text.ids) for text in texts], batch_tokens):
                shown = images_of([one for j in batch for one in texts[j].pictures])
                scores = decoder.score([texts[j].ids for j in batch], shown)
                for j, score in zip(batch, scores, strict=True):
                    counts = texts[j].carries
                    bucket = _bucket(len(score))[counts]
                    lost = -score.double().cpu().numpy()[counts]
                    nats[numbers[j]] = np.bincount(bucket, lost, buckets)
                    scored[numbers[j]] = np.bincount(bucket, minlength=buckets)
                    done += len(score) + 1
                progress(done, total)
    return _summary(choice, nats, scored, bytes_, l1)


def _bytes_predicted(tokenizer: Tokenizer, document: HeldOut, read: Read) -> int:
    """Text bytes of the tokens of a document that are scored."""
    if document.images:
        specials = set(tokenizer.specials.values())
        counted = read.ids[1:][torch.from_numpy(read.carries)].tolist()
        return len(tokenizer.decode([token for token in counted if token not in specials]))
    ids = read.ids.tolist()
    if document.taken == document.tokens:
        return document.text_bytes - len(tokenizer.decode(ids[:1]))
    return len(tokenizer.decode(ids[1:]))


def _bucket(predicted: int) -> Any:
    """⌊log2⌋ of the positions 1 to ``predicted``, exactly."""
    return np.frexp(np.arange(1, predicted + 1))[1] - 1


def _summary(
    choice: Choice, nats: Numbers, scored: Numbers, bytes_: Numbers, l1: int
) -> CorpusLoss:
    documents = choice.documents

    def group(name: str, belongs: Callable[[HeldOut], bool] = lambda _: True) -> Group | None:
        rows = [i for i, document in enumerate(documents) if belongs(document)]
        if not rows:
            return None
        mine, size = nats[rows].sum(1), bytes_[rows]
        count = scored[rows].sum(1)
        bits = ratio(mine / math.log(2), size) if size.sum() > 0 else None
        return Group(name, len(rows), int(count.sum()), ratio(mine, count), bits)

    def of_class(length: LengthClass) -> Group | None:
        low, high = bounds(length, l1)
        return group(length, lambda d: d.tokens >= low and (high is None or d.tokens < high))

    def at(bucket: int) -> Group:
        rows = np.flatnonzero(scored[:, bucket])
        count = scored[rows, bucket]
        first = 1 << bucket
        name = "1" if first == 1 else f"{first}–{2 * first - 1}"
        return Group(name, len(rows), int(count.sum()), ratio(nats[rows, bucket], count), None)

    everything = group("all")
    assert everything is not None, "at least one document is chosen"
    sources = [group(s, lambda d, s=s: d.source == s) for s in sorted(choice.available)]  # type: ignore[misc]
    lengths = [of_class(length) for length in get_args(LengthClass)]
    positions = [at(bucket) for bucket in range(scored.shape[1]) if scored[:, bucket].any()]
    return CorpusLoss(
        everything,
        tuple(g for g in sources if g is not None),
        tuple(g for g in lengths if g is not None),
        tuple(positions),
        choice.available,
        l1,
        choice.unseen,
    )
