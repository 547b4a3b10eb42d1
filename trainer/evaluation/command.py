"""``python -m trainer evaluate``: a model measured, as tables or JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trainer.evaluation import image_reward_command, likelihood_command
from trainer.generation.command import known_device

if TYPE_CHECKING:
    from dataflow.tokenizer import Tokenizer
    from trainer.data.corpus import Corpus
    from trainer.generation.decoder import Decoder

LOSS, CHOICES, NEEDLES, PICTURES = TASKS = ("loss", "choices", "needles", "pictures")
_DONE = 0

Add = Callable[[str, Callable[[argparse.Namespace], int], str], Any]


def add_commands(add: Add) -> None:
    """Add them to the room's parser; ``add(name, run, text)`` makes a command's."""
    likelihood_command.add_command(add)
    image_reward_command.add_command(add)
    sub = add(
        "evaluate", run_evaluate, "measure a model: loss, multiple choice, long contexts, pictures"
    )
    sub.add_argument("folder", type=Path, metavar="DIR", help="a run's folder, or an exported one")
    sub.add_argument("--step", type=_whole, help="of the checkpoint (default: the last)")
    sub.add_argument(
        "--device", type=known_device, help="such as cpu (default: a GPU where there is one)"
    )
    sub.add_argument("--precision", choices=("fp32", "bf16"), help="default: as stored")
    sub.add_argument(
        "--tokenizer", type=Path, metavar="DIR",
        help="its folder, where the model's has none (else the corpus')",
    )  # fmt: skip
    sub.add_argument("--corpus", metavar="RUN", help="with held-out documents: folder or URI")
    sub.add_argument(
        "--tasks", type=_listed(str), metavar="TASKS",
        help=f"of {', '.join(TASKS)} (default: those that files are given for)",
    )  # fmt: skip
    sub.add_argument(
        "--tokens", type=_tokens, default=1 << 20, help="of held-out text, at most (1Mi)"
    )
    sub.add_argument("--longest", type=_tokens, default=1 << 13, help="of a document (8Ki)")
    sub.add_argument(
        "--l1", type=_tokens,
        help="what length classes are relative to (default: the run's; 128Ki for an export)",
    )  # fmt: skip
    sub.add_argument(
        "--choices", type=Path, metavar="FILE", action="append",
        help="questions, a JSON object a line (may be said again)",
    )  # fmt: skip
    sub.add_argument(
        "--lengths", type=_listed(_tokens), metavar="LENGTHS",
        help="of texts with needles, such as 1Ki,4Ki (default: both)",
    )  # fmt: skip
    sub.add_argument(
        "--depths", type=_listed(float), metavar="DEPTHS", help="from 0 to 1 (0,.25,.5,.75,1)"
    )
    sub.add_argument("--kinds", type=_listed(str), help="of needle, keys, variables, common (all)")
    sub.add_argument("--samples", type=_whole, default=8, help="of each length and depth (8)")
    sub.add_argument(
        "--haystack", choices=("invented", "corpus"), default="invented",
        help="made sentences, or held-out ones",
    )  # fmt: skip
    sub.add_argument(
        "--questions", type=Path, metavar="FOLDER",
        help="about pictures: what `python -m vl_data synthesise --split heldout` made",
    )  # fmt: skip
    sub.add_argument(
        "--limit", type=_tokens, metavar="N", help="of questions about pictures (default: all)"
    )
    sub.add_argument(
        "--baselines", type=_listed(str), default=["shuffled", "text-only"],
        help="of shuffled (another's picture), text-only (none): both, or an empty text",
    )  # fmt: skip
    sub.add_argument(
        "--tiling", help="of images (default: that of the run's stage, or the model's)"
    )
    sub.add_argument("--seed", type=int, default=0, help="of texts with needles, and of questions")
    sub.add_argument(
        "--batch-tokens", type=_tokens,
        help="read at once, at most (16Ki; of pictures on a GPU 128Ki)",
    )  # fmt: skip


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure the model in ``options.folder``.

    Raises
    ------
    EvaluationError
        If a task lacks its file, or cannot be done as asked.
    GenerationError, ConversionError, CheckpointBroken, TokenizerError, RunError, DataError
        If the model or the corpus cannot be used.
    """
    from trainer.convert.saved_run import DTYPES
    from trainer.data.corpus import Corpus
    from trainer.evaluation.class_length import class_length_of
    from trainer.evaluation.errors import EvaluationError
    from trainer.generation.loading import open_decoder

    tasks = _tasks(options)
    decoder, tokenizer, about = open_decoder(
        options.folder,
        step=options.step,
        device=options.device,
        dtype=None if options.precision is None else DTYPES[options.precision],
        tokenizer=options.tokenizer,
        tiling=options.tiling,
    )
    corpus = Corpus.open(options.corpus) if options.corpus else None
    try:
        tokenizer = tokenizer or _tokenizer_of(options, corpus)
        if tokenizer.vocab_size > about.vocab_size:
            raise EvaluationError(
                f"{options.folder}: found a model of {about.vocab_size:,} tokens and a tokenizer "
                f"of {tokenizer.vocab_size:,}, expected the tokenizer that it was trained with"
            )
        l1 = options.l1 or class_length_of(about)
        found, tables = _measure(options, tasks, decoder, tokenizer, corpus, l1)
    finally:
        if corpus is not None:
            corpus.close()
    if options.json:
        sys.stdout.write(
            orjson.dumps({"ok": True, "model": about.as_json(), **found}).decode() + "\n"
        )
    else:
        sys.stdout.write("\n\n".join(tables) + "\n")
    return _DONE


def _tasks(options: argparse.Namespace) -> list[str]:
    """What is asked for, each with what it needs."""
    from trainer.evaluation.errors import EvaluationError

    given = {
        LOSS: options.corpus,
        CHOICES: options.choices,
        NEEDLES: options.lengths,
        PICTURES: options.questions,
    }
    tasks: list[str] = options.tasks or [task for task in TASKS if given[task]]
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown or not tasks:
        raise EvaluationError(
            f"--tasks: found {', '.join(unknown) or 'none'}, expected some of {', '.join(TASKS)}; "
            "or give --corpus, --choices, --lengths or --questions"
        )
    needed = (
        (LOSS, "--corpus RUN"), (CHOICES, "--choices FILE"), (PICTURES, "--questions FOLDER")
    )  # fmt: skip
    for task, option in needed:
        if task in tasks and not given[task]:
            raise EvaluationError(f"--tasks {task}: found no {option}, expected one")
    if NEEDLES in tasks and options.haystack == "corpus" and not options.corpus:
        raise EvaluationError("--haystack corpus: found no --corpus RUN, expected one")
    return [task for task in TASKS if task in tasks]


def _tokenizer_of(options: argparse.Namespace, corpus: Corpus | None) -> Tokenizer:
    """The corpus' tokenizer, for a model that came without one."""
    from trainer.data.tokenizers import tokenizer_of
    from trainer.evaluation.errors import EvaluationError

    if corpus is None:
        raise EvaluationError(
            f"{options.folder}: found no tokenizer with the model; name its folder "
            "by --tokenizer, or the corpus that it was trained on by --corpus"
        )
    return tokenizer_of(corpus.run)


def _measure(
    options: argparse.Namespace,
    tasks: list[str],
    decoder: Decoder,
    tokenizer: Tokenizer,
    corpus: Corpus | None,
    l1: int,
) -> tuple[dict[str, Any], list[str]]:
    """The tasks' results, as JSON and as tables."""
    from trainer.evaluation import report
    from trainer.evaluation.bar import bar
    from trainer.evaluation.choice_files import as_json, load_files
    from trainer.evaluation.corpus_loss import corpus_loss
    from trainer.evaluation.haystack import Haystack, from_corpus, invented
    from trainer.evaluation.likelihood import BATCH_TOKENS
    from trainer.evaluation.long_tasks import KINDS
    from trainer.evaluation.multiple_choice import multiple_choice
    from trainer.evaluation.needles import DEPTHS, check_needles, needles
    from trainer.evaluation.picture_questions import choose_questions
    from trainer.evaluation.pictures import check_baselines, evaluate_pictures

    # All that can be refused is refused before anything is measured.
    files = load_files(options.choices) if CHOICES in tasks else {}
    chosen = None
    if PICTURES in tasks:
        check_baselines(options.baselines)
        chosen = choose_questions(options.questions, limit=options.limit, seed=options.seed)
    grid: dict[str, Any] = {}
    if NEEDLES in tasks:
        haystack: Haystack = invented
        if options.haystack == "corpus":
            assert corpus is not None, "the tasks were checked"
            haystack = from_corpus(corpus, tokenizer)
        grid = {
            "lengths": options.lengths or [1 << 10, 1 << 12],
            "depths": options.depths or DEPTHS,
            "kinds": options.kinds or tuple(KINDS),
            "samples": options.samples,
            "seed": options.seed,
            "haystack": haystack,
        }
        check_needles(tokenizer, **grid)

    found: dict[str, Any] = {}
    tables: list[str] = []
    batch = options.batch_tokens or BATCH_TOKENS
    if LOSS in tasks:
        assert corpus is not None, "the tasks were checked"
        with bar(LOSS, not options.json) as progress:
            loss = corpus_loss(
                decoder, tokenizer, corpus, tokens=options.tokens, longest=options.longest,
                l1=l1, batch_tokens=batch, progress=progress,
            )  # fmt: skip
        found[LOSS] = loss.as_json()
        tables.append(report.loss_tables(loss))
    if CHOICES in tasks:
        judged = {}
        for name, questions in files.items():
            with bar(name, not options.json) as progress:
                judged[name] = multiple_choice(
                    decoder, tokenizer, questions, batch_tokens=batch, progress=progress
                )
        found[CHOICES] = as_json(judged)
        tables += [report.choices_table(each, name) for name, each in judged.items()]
    if NEEDLES in tasks:
        with bar(NEEDLES, not options.json) as progress:
            cells = needles(decoder, tokenizer, **grid, batch_tokens=batch, progress=progress)
        found[NEEDLES] = [cell.as_json() for cell in cells]
        tables.append(report.needles_tables(cells))
    if chosen is not None:
        with bar(PICTURES, not options.json) as progress:
            pictures = evaluate_pictures(
                decoder, tokenizer, chosen, baselines=options.baselines,
                batch_tokens=options.batch_tokens, seed=options.seed, progress=progress,
            )  # fmt: skip
        found[PICTURES] = pictures.as_json()
        tables.append(report.pictures_tables(pictures))
    return found, tables


def _listed(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def parsed(text: str) -> list[Any]:
        try:
            return [kind(part.strip()) for part in text.split(",") if part.strip()]
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _tokens(text: str) -> int:
    from mixtures.amounts import parse_tokens

    try:
        found = parse_tokens(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 1 or more")
    return found


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number")
    return int(text)
