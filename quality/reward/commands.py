"""``python -m quality distill``, ``evaluate``, and what ``score`` does with ``--out``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from quality.reward.evaluation.measures import DRAWS

DONE = 0

_CORPORA = "a finished run, or JSON lines with `text` (.jsonl, .gz, .zst); may be given again"


def add_distill(commands: Any) -> None:
    """Add ``distill`` to the parsers of a command line."""
    sub = commands.add_parser(
        "distill",
        help="fit a student to labels",
        description="Fit a student to the labels of the train split whose texts the given corpora "
        "hold. What a corpus holds out trains nothing.",
    )
    _labelled(sub)
    sub.add_argument("--out", type=Path, required=True, help="the student's file (or folder)")
    sub.add_argument(
        "--kind",
        choices=("linear", "fasttext", "cascade"),
        default="linear",
        help="linear: words, 4-grams and signals in whole numbers; fasttext: four classifiers; "
        "cascade: linear, and a small transformer for the middle (needs torch)",
    )
    sub.add_argument(
        "--middle",
        type=float,
        default=0.2,
        help="of a cascade: the share of documents that the transformer reads too (default: .2)",
    )
    sub.set_defaults(run=_distill)


def add_evaluate(commands: Any) -> None:
    """Add ``evaluate`` to the parsers of a command line."""
    sub = commands.add_parser(
        "evaluate",
        help="hold a student against labels it has not seen, beside two baselines",
        description="Spearman on held-out labels, given length and language too; AUC on people's "
        "votes; bias, calibration, and what injected orders do. With --card, the model card.",
    )
    _labelled(sub)
    sub.add_argument("--student", type=Path, help="its file (default: the shipped one)")
    sub.add_argument("--votes", type=Path, help="JSON lines with text and label (1 keep, 0 drop)")
    sub.add_argument("--card", type=Path, help="write the figures as a model card")
    sub.set_defaults(run=_evaluate)


def _labelled(sub: argparse.ArgumentParser) -> None:
    from quality.reward.labels import LABELS

    sub.add_argument(
        "--labels", type=Path, default=LABELS, help="JSON lines (default: those of the project)"
    )
    sub.add_argument("corpora", type=Path, nargs="+", metavar="CORPUS", help=_CORPORA)


def _distill(options: argparse.Namespace) -> int:
    from quality.reward.fasttext_student import fit_fasttext
    from quality.reward.judged import judged
    from quality.reward.labels import load_labels
    from quality.reward.student.distill import distill

    watch = _watch()
    watch("reading texts")
    found = judged(load_labels(options.labels), options.corpora, "train")
    told: dict[str, Any] = {
        "ok": True,
        "out": str(options.out),
        "kind": options.kind,
        "documents": len(found.labels),
        "labels_without_text": found.missing,
        "kept_back": found.kept_back,
    }
    if options.kind == "fasttext":
        watch("training four classifiers")
        told["version"] = fit_fasttext(found.labels, found.texts, options.out).version
    elif options.kind == "cascade":
        from quality.reward.cascade.distill import distill_cascade

        made = distill_cascade(found, options.labels, options.out, options.middle, watch)
        told |= {"bytes": made.bytes, "penalty": made.penalty, "trust": made.trust}
    else:
        fit, size = distill(found, options.labels, options.out, watch)
        told |= {"bytes": size, "penalty": fit.penalty, "cross_validation": fit.spearman}
    if options.json:
        print(orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS).decode())
        return DONE
    print(
        f"{options.out}: a {options.kind} student of {len(found.labels):,} documents; "
        f"{found.missing:,} labels had no text here, {found.kept_back:,} documents are held out"
    )
    for name, value in told.get("trust", {}).items():
        print(f"  {name}: {value:.2f} of a correction by the network is believed")
    for penalty, scores in told.get("cross_validation", {}).items():
        chosen = " (chosen)" if penalty == told["penalty"] else ""
        said = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        print(f"  cross-validation, penalty {penalty:g}: Spearman {said}{chosen}")
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    import tempfile

    from quality.reward.evaluation.card import as_json, card, figures
    from quality.reward.evaluation.evaluate import (
        FASTTEXT,
        LENGTH,
        by_length,
        evaluate,
        scorer_of,
    )
    from quality.reward.evaluation.votes import read_votes
    from quality.reward.fasttext_student import fit_fasttext
    from quality.reward.injections import load_injections
    from quality.reward.judged import judged
    from quality.reward.labels import agreement, load_labels
    from quality.reward.scores_file import student_scorer
    from quality.reward.student import Student
    from quality.reward.students import open_student

    watch = _watch()
    kind, student = open_student(options.student)
    if options.card is not None and not isinstance(student, Student):
        raise ValueError(f"--card: found a {kind} student, expected a linear one: the card is its")
    labels = load_labels(options.labels)
    watch("reading texts")
    train = judged(labels, options.corpora, "train")
    held = judged(labels, options.corpora, "heldout")
    votes = read_votes(options.votes) if options.votes else []
    with tempfile.TemporaryDirectory() as folder:
        watch("training the fastText baseline")
        fasttext = fit_fasttext(train.labels, train.texts, Path(folder))
        found = evaluate(
            held.labels,
            held.texts,
            student.score,
            {
                LENGTH: by_length,
                FASTTEXT: scorer_of(fasttext.score),
            },
            agreement(labels),
            votes,
            load_injections(),
            watch,
            DRAWS,
        )
    if options.card is not None and isinstance(student, Student):
        options.card.write_text(card(found, student), "utf-8")
    if options.json:
        print(
            orjson.dumps(
                {"ok": True, **as_json(found, student_scorer(kind, student.version))}
            ).decode()
        )
    else:
        print(figures(found))
    return DONE


def score_file(options: argparse.Namespace) -> int:
    """What ``score`` does with ``--out``: the scores of whole corpora, as a build reads them."""
    from quality.reward.score_documents import score_documents
    from quality.reward.scores_file import student_scorer
    from quality.reward.students import open_student

    kind, student = open_student(options.student, options.device)
    show = _watch()

    def watch(documents: int, size: int) -> None:
        show(f"{documents:,} documents, {size / 1e6:,.0f} MB")

    rows = score_documents([options.file], kind, student, options.out, watch)
    scorer = student_scorer(kind, student.version)
    told = {"ok": True, "out": str(options.out), "contents": rows, "scorer": scorer}
    if options.json:
        print(orjson.dumps(told).decode())
    else:
        print(f"{options.out}: scores of {rows:,} contents by the {scorer}")
    return DONE


def _watch() -> Callable[[str], None]:
    """Tells where the work is: a status line on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        status = console.status("")
        status.start()
        return status.update
    return lambda text: print(text, file=sys.stderr, flush=True)
