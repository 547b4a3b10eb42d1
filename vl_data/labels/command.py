"""``python -m vl_data caption`` and ``python -m vl_data tag``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vl_data.labels.errors import LabelError

_CAPTION_TOKENS, _TAG_TOKENS = 1024, 64
_ITEMS = "JSON lines: `image` (path or data URI) and `caption` if there is one"
_PAIRS = "JSON lines: `instruction`, `answer`, and `image` (path, data URI or list) if any"


def add_commands(add: Callable[..., Any]) -> None:
    """Add both commands to a parser."""
    from quality.endpoint.options import add_endpoint_options

    for name, run, text, items, tokens in (
        ("caption", _caption, "let a model caption and describe images", _ITEMS, _CAPTION_TOKENS),
        ("tag", _tag, "let a model name what instructions train", _PAIRS, _TAG_TOKENS),
    ):
        sub = add(name, run, text)
        sub.add_argument(
            "--in", required=True, type=Path, dest="items", metavar="FILE.jsonl", help=items
        )
        sub.add_argument(
            "--out",
            required=True,
            type=Path,
            metavar="DIR",
            help="for the table and all raw answers; the same command again goes on",
        )
        sub.add_argument(
            "--image-side", type=int, default=1344, metavar="PX", help="images are sent no larger"
        )
        add_endpoint_options(sub, tokens)


def _caption(options: argparse.Namespace) -> dict[str, Any]:
    from vl_data.labels.captioner import EndpointCaptioner
    from vl_data.labels.inputs import read_captionables

    def label(captioner: EndpointCaptioner, items: list[Any]) -> Any:
        return captioner.caption(items)

    return _label(options, "captions", read_captionables, EndpointCaptioner, label)


def _tag(options: argparse.Namespace) -> dict[str, Any]:
    from vl_data.labels.distribution import long_tail, tag_distribution
    from vl_data.labels.inputs import read_pairs
    from vl_data.labels.tables import TAGS, read_labels
    from vl_data.labels.tagger import EndpointTagger

    def label(tagger: EndpointTagger, pairs: list[Any]) -> Any:
        return tagger.tag(pairs)

    answer = _label(options, "tags", read_pairs, EndpointTagger, label)
    labels = read_labels(Path(answer["table"]), TAGS)
    top = tag_distribution(labels).slice(0, 20)
    counts = dict(zip(top["tag"].to_pylist(), top["count"].to_pylist(), strict=True))
    return {**answer, "tail": asdict(long_tail(labels)), "top": counts}


def _label(
    options: argparse.Namespace,
    kind: str,
    read: Callable[[Path], list[Any]],
    labeler: Callable[..., Any],
    label: Callable[[Any, list[Any]], Any],
) -> dict[str, Any]:
    from quality.endpoint.failures import EndpointError
    from quality.endpoint.meter import Meter
    from quality.endpoint.options import settings_of
    from quality.endpoint.store import AnswerStore
    from vl_data.labels.tables import write_labels

    try:
        endpoint, model, cost = settings_of(options)
    except ValueError as error:
        raise LabelError(str(error)) from error
    items = read(options.items)
    with AnswerStore(options.out) as store, Meter(len(items)) as meter:
        asker = labeler(endpoint, model, store, cost, options.image_side, meter)
        try:
            table = label(asker, items)
        except KeyboardInterrupt:
            raise EndpointError(
                f"interrupted; the same command goes on with the {len(store)} answers kept"
            ) from None
    path, digest = write_labels(options.out, kind, table)
    reasons = sorted(found for found in table["reason"].to_pylist() if found is not None)
    return {
        "table": str(path),
        "blake3": digest,
        "rows": table.num_rows,
        "without": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        **asdict(asker.tally),
    }
