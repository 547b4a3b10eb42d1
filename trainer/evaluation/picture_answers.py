"""A model's answers to questions about pictures: the likeliest candidate, or what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from dataflow.tokenizer import Tokenizer
from trainer.data.pictures import images_of
from trainer.evaluation.edit_distance import plain_form, similarity
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.likelihood import Progress, batches, continue_memory
from trainer.generation.chats import ANSWERED, answer_ids, chat_ids
from trainer.generation.decoder import Decoder
from trainer.generation.pictures import read_pictures
from trainer.generation.sampling import Sampling, continue_prompts
from trainer.vision.images import Images
from vl_data.tiling import plan

COPIES_BYTES = {"cuda": 8 << 30, "cpu": 256 << 20}
"""Memory that copies of what was read may take together, one a candidate."""
MORE = 8
"""Tokens that a written answer may have beyond the right one's."""


@dataclass(frozen=True)
class Query:
    """A question as it is put once: with one picture, or none.

    Attributes:
        text: of the question.
        answer: the right one.
        candidates: what it is compared with by likelihood; none where the answer is written.
        image: the picture's file, None where none is shown.
        size: its width and height.
        where: what to begin an error with.
    """

    text: str
    answer: str
    candidates: tuple[str, ...]
    image: Path | None
    size: tuple[int, int]
    where: str


@dataclass(frozen=True)
class Answer:
    """What came of a query.

    Attributes:
        said: the likeliest candidate, the first of equals, or what greedy decoding wrote.
        right: it is the right answer, case and blanks aside.
        similarity: one less the edit distance over the longer length; None with candidates.
        log_prob_per_byte: of the right answer and its end, in nats, over its UTF-8 bytes.
        log_probs: of the candidates with their ends.
    """

    said: str
    right: bool
    similarity: float | None
    log_prob_per_byte: float
    log_probs: tuple[float, ...] = ()


def answer_queries(
    decoder: Decoder,
    tokenizer: Tokenizer,
    queries: Sequence[Query],
    *,
    batch_tokens: int,
    progress: Progress,
) -> list[Answer]:
    """The answers, in the order of the queries.

    A query and its candidates are read together: the question once, then each candidate on a copy
    of what was read. The next batch's pictures are decoded while one is computed.

    Args:
        batch_tokens: of questions with their pictures, read at once; a longer one is read alone.
        progress: told of queries.

    Raises:
        EvaluationError: the model sees nothing, or a picture is not of the size that is said.
        GenerationError: a picture that cannot be read.
    """
    _check(decoder, tokenizer, queries)
    ids = [_ids(decoder, tokenizer, query) for query in queries]
    found: dict[int, Answer] = {}
    for closed in (True, False):
        rows = [i for i, query in enumerate(queries) if bool(query.candidates) == closed]
        numbers = [
            [rows[i] for i in part] for part in batches([len(ids[i]) for i in rows], batch_tokens)
        ]
        for part, images in _shown(decoder, queries, numbers):
            prompts, asked = [ids[i] for i in part], [queries[i] for i in part]
            answers = (_compare if closed else _write)(decoder, tokenizer, asked, prompts, images)
            found.update(zip(part, answers, strict=True))
            progress(len(found), len(queries))
    return [found[i] for i in range(len(queries))]


def _check(decoder: Decoder, tokenizer: Tokenizer, queries: Sequence[Query]) -> None:
    if all(query.image is None for query in queries):
        return
    if decoder.vision is None:
        raise EvaluationError(
            f"found model {decoder.recipe.name} without a vision tower, expected one that is shown "
            "images, such as tiny-vl"
        )
    if "image" not in tokenizer.specials:
        raise EvaluationError(
            f"found tokenizer {tokenizer.hash} without a special of role 'image', expected the one "
            "that the model was trained with"
        )


def _ids(decoder: Decoder, tokenizer: Tokenizer, query: Query) -> torch.Tensor:
    tokens = []
    if query.image is not None:
        assert decoder.vision is not None, "the queries were checked"
        tokens = [plan(*query.size, decoder.vision.tiling).tokens]
    return chat_ids(tokenizer, query.text, tokens, where=query.where)


def _shown(
    decoder: Decoder, queries: Sequence[Query], parts: Sequence[list[int]]
) -> Iterator[tuple[list[int], Images | None]]:
    """Batches with what they show, the next one's read ahead."""

    def read(part: Sequence[int]) -> Images | None:
        mine = [queries[i] for i in part if queries[i].image is not None]
        if not mine:
            return None
        assert decoder.vision is not None, "the queries were checked"
        pictures = read_pictures([q.image for q in mine if q.image], decoder.vision.tiling)
        for query, picture in zip(mine, pictures, strict=True):
            size = picture.plan.width, picture.plan.height
            if size != query.size:
                raise EvaluationError(
                    f"{query.where}: found {query.image} of {size[0]} x {size[1]} pixels, expected "
                    f"{query.size[0]} x {query.size[1]} as its line says"
                )
        return images_of(pictures)

    with ThreadPoolExecutor(1) as ahead:
        coming: Future[Images | None] | None = ahead.submit(read, parts[0]) if parts else None
        for number, part in enumerate(parts):
            assert coming is not None
            images = coming.result()
            if number + 1 < len(parts):
                coming = ahead.submit(read, parts[number + 1])
            yield part, images


def _compare(
    decoder: Decoder,
    tokenizer: Tokenizer,
    queries: Sequence[Query],
    prompts: Sequence[torch.Tensor],
    images: Images | None,
) -> list[Answer]:
    """By the likelihood of each candidate with its end, so that none is another's beginning."""
    memory, logits = decoder.prefill(prompts, images)
    candidates = [[answer_ids(tokenizer, c) for c in query.candidates] for query in queries]
    room = COPIES_BYTES.get(decoder.device.type, COPIES_BYTES["cpu"])
    width = max(1, room * len(prompts) // max(1, memory.bytes()))
    scored = continue_memory(decoder, memory, logits, candidates, width=width)
    found = []
    for query, each in zip(queries, scored, strict=True):
        log_probs = [continuation.total for continuation in each]
        best = max(range(len(log_probs)), key=log_probs.__getitem__)
        said = query.candidates[best]
        right = log_probs[query.candidates.index(query.answer)]
        found.append(
            Answer(said, said == query.answer, None, _by_byte(right, query), tuple(log_probs))
        )
    return found


def _write(
    decoder: Decoder,
    tokenizer: Tokenizer,
    queries: Sequence[Query],
    prompts: Sequence[torch.Tensor],
    images: Images | None,
) -> list[Answer]:
    """By greedy decoding; the likelihood of the right answer in a pass of its own."""
    expected = [answer_ids(tokenizer, query.answer) for query in queries]
    whole = [torch.cat(pair) for pair in zip(prompts, expected, strict=True)]
    scores = [
        float(score[-len(answer) :].double().sum())
        for score, answer in zip(decoder.score(whole, images), expected, strict=True)
    ]
    stop = frozenset([tokenizer.specials[ANSWERED], tokenizer.eod])
    written: list[list[int]] = [[] for _ in queries]
    for step in continue_prompts(
        decoder, prompts, most=max(map(len, expected)) + MORE, stop=stop,
        sampling=Sampling(temperature=0), images=images,
    ):  # fmt: skip
        for row, token in step:
            if token not in stop and token < tokenizer.vocab_size:
                written[row].append(token)
    found = []
    for query, ids, score in zip(queries, written, scores, strict=True):
        said = tokenizer.decode(ids).decode(errors="replace").strip()
        one, other = plain_form(said), plain_form(query.answer)
        found.append(Answer(said, one == other, similarity(one, other), _by_byte(score, query)))
    return found


def _by_byte(log_prob: float, query: Query) -> float:
    return log_prob / len(query.answer.encode())
