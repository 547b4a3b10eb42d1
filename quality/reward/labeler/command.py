"""``python -m quality label``: scores of documents by a model, endpoint or checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from quality.endpoint.options import add_endpoint_options

if TYPE_CHECKING:
    from quality.reward.labeler.documents import Documents
    from quality.reward.labeler.obedience import Ordered
    from quality.reward.labeler.ratings import Rating

DONE, FAILED, USAGE = 0, 1, 2
_ANSWER_TOKENS = 400
_CHARACTERS = 12_000
LEAST = 300
"""Characters of an excerpt that can be asked for."""


def add_parser(commands: Any) -> None:
    """Add ``label`` to the parsers of a command line."""
    sub = commands.add_parser(
        "label",
        help="let a model judge documents by the rubric",
        description="Documents of a run or of JSON lines, judged by a model behind an "
        "OpenAI-compatible endpoint or by a checkpoint of the trainer. Raw answers are kept: the "
        "same command again goes on, and asks nothing twice.",
    )
    sub.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT",
        help="a finished run, or JSON lines with `text` (.jsonl, .gz, .zst)",
    )  # fmt: skip
    sub.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="for labels.jsonl, failures.jsonl, scores.parquet and all raw answers",
    )  # fmt: skip
    which = sub.add_argument_group("documents")
    which.add_argument("--sample", type=int, metavar="N", help="by hash of the text (default: all)")
    which.add_argument("--sample-seed", type=int, default=0, metavar="S", help="of the sample")
    which.add_argument(
        "--held-out", type=float, default=0.2, metavar="SHARE",
        help="of labels, by hash of the text, that train no student (default: 0.2)",
    )  # fmt: skip
    which.add_argument(
        "--characters", type=int, default=_CHARACTERS, metavar="N",
        help=f"of a document that are shown: of a longer one beginning, middle and end "
        f"(default: {_CHARACTERS})",
    )  # fmt: skip
    which.add_argument(
        "--orders", action="store_true",
        help="judge each document once more with an order to the rater in front, and tell how far "
        "that moves scores; labels stay those of the documents as they are",
    )  # fmt: skip
    local = sub.add_argument_group("checkpoint", "In the place of --endpoint and --model.")
    local.add_argument("--checkpoint", type=Path, metavar="DIR", help="a run's folder, or exported")
    local.add_argument("--step", type=int, help="of the checkpoint (default: the last)")
    local.add_argument("--device", help="such as cpu (default: a GPU where there is one)")
    local.add_argument("--precision", choices=("fp32", "bf16"), help="default: as stored")
    local.add_argument("--tokenizer", type=Path, metavar="DIR", help="where the model's has none")
    local.add_argument(
        "--longest", type=int, metavar="TOKENS", help="default: what the model was trained for"
    )
    add_endpoint_options(sub, _ANSWER_TOKENS, required=False, images=False)
    sub.set_defaults(run=run_label)


def run_label(options: argparse.Namespace) -> int:
    """Label documents; errors that a person can mend are told in a line."""
    from quality.endpoint.failures import EndpointError
    from quality.reward.documents import DocumentsError
    from quality.reward.labeler.errors import LabelerFailed, LabelingRefused

    try:
        answer = _label(options)
    except (LabelingRefused, DocumentsError) as error:
        return _fail(options, str(error), USAGE)
    except FileNotFoundError as error:
        return _fail(options, f"{error.filename}: found no such file", USAGE)
    except (EndpointError, LabelerFailed, pa.ArrowInvalid) as error:
        return _fail(options, str(error), FAILED)
    except OSError as error:
        return _fail(options, f"{error.filename}: {error.strerror}", FAILED)
    if options.json:
        print(orjson.dumps({"ok": True, **answer}, option=orjson.OPT_INDENT_2).decode())
    else:
        print(_told(answer))
    return DONE


def _label(options: argparse.Namespace) -> dict[str, Any]:
    from quality.reward.labeler.documents import Documents
    from quality.reward.labeler.errors import LabelingRefused

    if (options.endpoint is None) == (options.checkpoint is None):
        found = "neither" if options.endpoint is None else "both"
        raise LabelingRefused(
            f"found {found} of --endpoint URL and --checkpoint DIR, expected exactly one"
        )
    if options.characters < LEAST:
        raise LabelingRefused(
            f"--characters: found {options.characters}, expected {LEAST} or more: less says "
            "little of a document"
        )
    by_endpoint = options.endpoint is not None
    _check_kind(options, by_endpoint)
    documents = Documents(
        options.inputs,
        sample=options.sample,
        seed=options.sample_seed,
        held_out_share=options.held_out,
    )
    asked: Documents | Ordered = documents
    if options.orders:
        from quality.reward.labeler.obedience import Ordered

        asked = Ordered(documents)
    return (_by_endpoint if by_endpoint else _by_checkpoint)(options, asked)


def _check_kind(options: argparse.Namespace, by_endpoint: bool) -> None:
    """Refuse options of the other kind, which would do nothing."""
    from quality.reward.labeler.errors import LabelingRefused

    if by_endpoint and options.model is None:
        raise LabelingRefused("--endpoint: found no --model NAME, expected one that it serves")
    idle = ("step", "device", "precision", "tokenizer", "longest") if by_endpoint else ("model",)
    for name in idle:
        if getattr(options, name) is not None:
            kind = "--checkpoint" if by_endpoint else "--endpoint"
            raise LabelingRefused(f"--{name}: found it without {kind}, expected both or neither")


def _by_endpoint(options: argparse.Namespace, documents: Documents | Ordered) -> dict[str, Any]:
    from quality.endpoint.failures import EndpointError
    from quality.endpoint.meter import Meter
    from quality.endpoint.options import settings_of
    from quality.endpoint.store import AnswerStore
    from quality.reward.labeler.endpoint import EndpointLabeler, version
    from quality.reward.labeler.errors import LabelingRefused
    from quality.reward.labeler.outputs import claim
    from quality.reward.labeler.rubric import RUBRIC

    try:
        endpoint, model, cost = settings_of(options)
    except ValueError as error:
        raise LabelingRefused(str(error)) from error
    about = {"kind": "endpoint", "rubric": RUBRIC, "prompt": version()}
    claim(options.out, {**about, "characters": options.characters, **model.identity()})
    with AnswerStore(options.out) as store, Meter(len(documents)) as meter:
        labeler = EndpointLabeler(endpoint, model, store, options.characters, cost, meter)
        try:
            ratings = labeler.label(documents)
        except KeyboardInterrupt:
            raise EndpointError(
                f"interrupted; the same command goes on with the {len(store)} answers kept"
            ) from None
    assert labeler.tally is not None, "set by label"
    counts = asdict(labeler.tally)
    return _written(options.out, documents, ratings, labeler.rater, labeler.scorer, counts)


def _by_checkpoint(options: argparse.Namespace, documents: Documents | Ordered) -> dict[str, Any]:
    from quality.endpoint.meter import Meter
    from quality.reward.labeler.checkpoint import CheckpointLabeler
    from quality.reward.labeler.errors import LabelerFailed
    from quality.reward.labeler.outputs import claim
    from quality.reward.labeler.prompts import DIMENSIONS, version
    from quality.reward.labeler.rubric import RUBRIC

    # Which weights these are, the answers themselves say in their first line.
    about = {"kind": "checkpoint", "rubric": RUBRIC, "prompt": version()}
    claim(options.out, {**about, "characters": options.characters})
    words = [
        word
        for name in ("step", "device", "precision", "tokenizer", "longest")
        if (value := getattr(options, name)) is not None
        for word in (f"--{name}", str(value))
    ]
    with Meter((len(documents) + 1) * len(DIMENSIONS)) as meter:
        labeler = CheckpointLabeler(
            options.out, options.checkpoint, options.characters, words, watch=meter
        )
        try:
            ratings = labeler.label(documents)
        except KeyboardInterrupt:
            raise LabelerFailed(
                "interrupted; the same command goes on with the answers kept"
            ) from None
    assert labeler.tally is not None, "set by label"
    counts = {"asked": labeler.tally.asked, "kept": labeler.tally.kept}
    return _written(options.out, documents, ratings, labeler.rater, labeler.scorer, counts)


def _written(
    folder: Path,
    documents: Documents | Ordered,
    ratings: list[Rating],
    rater: str,
    scorer: str,
    counts: dict[str, Any],
) -> dict[str, Any]:
    from quality.reward.labeler.obedience import Ordered, differences
    from quality.reward.labeler.outputs import (
        FAILURES,
        LABELS,
        SCORED,
        write_ordered,
        write_outputs,
    )

    orders: dict[str, Any] = {}
    if isinstance(documents, Ordered):
        ratings, pairs = documents.parted(ratings)
        path = write_ordered(folder, pairs)
        orders = {"orders": {"file": str(path), **differences(pairs)}}
    paths = write_outputs(folder, ratings, rater, scorer)
    why = Counter(rating.why for rating in ratings if rating.why is not None)
    return {
        "labels": str(paths[LABELS]),
        "failures": str(paths[FAILURES]),
        "scores": str(paths[SCORED]),
        "scorer": scorer,
        "documents": len(ratings),
        "labelled": sum(rating.scores is not None for rating in ratings),
        "without": dict(sorted(why.items())),
        **orders,
        **counts,
    }


def _told(answer: dict[str, Any]) -> str:
    lines = [
        f"{answer['labels']}: {answer['labelled']:,} of {answer['documents']:,} documents labelled "
        f"by {answer['scorer']}",
        f"{answer['scores']}: their scores, for a build to read",
        f"{answer['asked']:,} questions asked, {answer['kept']:,} answered before",
    ]
    if answer["without"]:
        from quality.reward.labeler.ratings import WHY_NOT

        lines.append(f"{answer['failures']}: documents without a label")
        lines += [f"  {n:,} {why}: {WHY_NOT[why]}" for why, n in answer["without"].items()]
    if answer["without"].get("not-asked"):
        lines.append("  The same command with a higher cap goes on.")
    if "orders" in answer:
        from quality.reward.labeler.obedience import told

        lines += told(answer["orders"])
    if answer.get("money"):
        lines.append(f"cost so far: {answer['money']:.2f}")
    return "\n".join(lines)


def _fail(options: argparse.Namespace, text: str, code: int) -> int:
    if options.json:
        print(orjson.dumps({"ok": False, "error": text}).decode())
    else:
        print(f"error: {text}", file=sys.stderr)
    return code
