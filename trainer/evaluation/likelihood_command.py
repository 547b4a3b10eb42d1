"""``python -m trainer likelihood``: how probable a model finds each continuation of many contexts.

The front door for whoever asks a checkpoint as a process: a file of requests, a file of answers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trainer.evaluation.errors import EvaluationError
from trainer.generation.command import known_device

if TYPE_CHECKING:
    from dataflow.tokenizer import Tokenizer
    from trainer.evaluation.likelihood import Progress
    from trainer.evaluation.request_files import AnswerFile, Request
    from trainer.generation.decoder import Decoder

WINDOW = 4096
"""Requests that are held, and put into batches by their length, at once."""
_DONE = 0


@dataclass(frozen=True)
class Counts:
    """Of requests: all, answered now, answered before, and answered now by a refusal."""

    requests: int
    answered: int
    kept: int
    refused: int


def add_command(add: Callable[[str, Callable[[argparse.Namespace], int], str], Any]) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("likelihood", run_likelihood, "score continuations of contexts, from a file")
    sub.add_argument("folder", type=Path, metavar="DIR", help="a run's folder, or an exported one")
    sub.add_argument(
        "--requests", type=Path, required=True, metavar="FILE",
        help="JSON lines: `id`, `context`, `continuations`, each as it stands, blanks and all",
    )  # fmt: skip
    sub.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="for the answers; the same command again goes on",
    )  # fmt: skip
    sub.add_argument(
        "--longest", type=_count, metavar="TOKENS",
        help="of a context and its continuation (default: what the model was trained for)",
    )  # fmt: skip
    sub.add_argument(
        "--batch-tokens", type=_count, default=1 << 14, metavar="N", help="read at once (16384)"
    )
    sub.add_argument("--step", type=int, help="of the checkpoint (default: the last)")
    sub.add_argument(
        "--device", type=known_device, help="such as cpu (default: a GPU where there is one)"
    )
    sub.add_argument("--precision", choices=("fp32", "bf16"), help="default: as stored")
    sub.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="its folder, where the model's has none"
    )


def run_likelihood(options: argparse.Namespace) -> int:
    """Answer the requests of a file.

    Raises
    ------
    EvaluationError
        If a line is no request, the model has no tokenizer, or ``--out`` is another model's.
    GenerationError, ConversionError, CheckpointBroken, TokenizerError
        If the model cannot be used.
    """
    from trainer.convert.saved_run import DTYPES
    from trainer.evaluation.bar import bar
    from trainer.evaluation.request_files import AnswerFile, read_requests
    from trainer.generation.digest import text_digest
    from trainer.generation.loading import open_decoder

    # Every line is judged before the model is loaded.
    try:
        total = sum(1 for _ in read_requests(options.requests))
    except OSError as error:
        raise EvaluationError(f"{options.requests}: cannot be read ({error.strerror})") from error
    decoder, tokenizer, about = open_decoder(
        options.folder,
        step=options.step,
        device=options.device,
        dtype=None if options.precision is None else DTYPES[options.precision],
        tokenizer=options.tokenizer,
    )
    if tokenizer is None or tokenizer.vocab_size > about.vocab_size:
        found = "no tokenizer/" if tokenizer is None else f"one of {tokenizer.vocab_size:,} tokens"
        raise EvaluationError(
            f"{options.folder}: found {found}, expected the model's tokenizer (at most "
            f"{about.vocab_size:,} tokens); name its folder by --tokenizer"
        )
    longest = options.longest or about.positions
    model = {
        "name": about.model,
        "step": about.step,
        "stage": about.stage,
        "weights": text_digest(decoder),
        "tokenizer": tokenizer.hash,
        "longest": longest,
    }
    with (
        AnswerFile(options.out, model) as answers,
        bar("likelihood", not options.json) as progress,
    ):
        counts = answer_requests(
            decoder, tokenizer, read_requests(options.requests), answers,
            total=total, longest=longest, batch_tokens=options.batch_tokens, progress=progress,
        )  # fmt: skip
    if options.json:
        found_json = {"ok": True, "model": model, **asdict(counts)}
        sys.stdout.write(orjson.dumps(found_json).decode() + "\n")
    else:
        sys.stdout.write(
            f"{counts.requests:,} requests: {counts.answered:,} answered, {counts.kept:,} had been "
            f"answered before, {counts.refused:,} refused; in {options.out}\n"
        )
    return _DONE


def answer_requests(
    decoder: Decoder,
    tokenizer: Tokenizer,
    requests: Iterator[Request],
    answers: AnswerFile,
    *,
    total: int,
    longest: int,
    batch_tokens: int,
    progress: Progress,
) -> Counts:
    """Answer what is not answered yet. Contexts and continuations are tokenized each by itself,
    without any special.

    Batches are made of all requests of a window, answered or not: whatever interrupts a run, the
    model reads each request beside the same others, so that not even rounding differs.

    Args:
        longest: tokens of a context and its longest continuation; more is refused in the answer.
        batch_tokens: read at once, at most; a longer context is read alone.
        progress: told of requests.

    Raises:
        EvaluationError: a text without tokens, or an answer under an id that was of another text.
    """
    from trainer.evaluation.likelihood import batches, follow
    from trainer.evaluation.texts import as_tokens

    done = answered = kept = refused = 0
    while window := list(islice(requests, WINDOW)):
        contexts = [as_tokens(tokenizer, request.context) for request in window]
        endings = [[as_tokens(tokenizer, c) for c in request.continuations] for request in window]
        for request, context, mine in zip(window, contexts, endings, strict=True):
            if not len(context) or not all(map(len, mine)):
                raise EvaluationError(
                    f"line {request.line}: found a text without tokens, expected one or more"
                )
        sizes = [len(c) + max(map(len, mine)) for c, mine in zip(contexts, endings, strict=True)]
        there = [answers.has(request) for request in window]
        kept += sum(there)
        long = [i for i, size in enumerate(sizes) if size > longest]
        new = [i for i in long if not there[i]]
        answers.add(_refusal(window[i], len(contexts[i]), sizes[i], longest) for i in new)
        refused += len(new)
        answered += len(new)
        done += len(long)
        fitting = [i for i, size in enumerate(sizes) if size <= longest]
        for chosen in batches([len(contexts[i]) for i in fitting], batch_tokens):
            batch = [fitting[n] for n in chosen]
            if not all(there[i] for i in batch):
                found = follow(
                    decoder,
                    [contexts[i] for i in batch],
                    [endings[i] for i in batch],
                    most=batch_tokens,
                )
                totals = [[c.total for c in mine] for mine in found]
                answers.add(
                    _answer(window[i], len(contexts[i]), each)
                    for i, each in zip(batch, totals, strict=True)
                    if not there[i]
                )
                answered += sum(not there[i] for i in batch)
            done += len(batch)
            progress(done, total)
    return Counts(done, answered, kept, refused)


def _answer(request: Request, tokens: int, found: Sequence[float]) -> dict[str, Any]:
    head = {"id": request.id, "request": request.digest(), "tokens": tokens}
    return {**head, "log_probabilities": found}


def _refusal(request: Request, tokens: int, size: int, longest: int) -> dict[str, Any]:
    head = {"id": request.id, "request": request.digest(), "tokens": tokens}
    why = (
        f"found {size:,} tokens with the longest continuation, expected at most {longest:,}; "
        "shorten the context, or say --longest"
    )
    return {**head, "refused": why}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)
