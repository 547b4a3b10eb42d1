"""``python -m vl_data synthesise``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vl_data.synthesis.errors import no_matplotlib


def add_commands(add: Callable[..., Any]) -> None:
    """Add the room's command to a parser."""
    text = "make pictures with questions whose answers are exactly known"
    sub = add("synthesise", _synthesise, text)
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    sub.add_argument("--count", type=int, default=100, metavar="N", help="default: 100")
    sub.add_argument("--seed", type=int, default=0, metavar="S")
    sub.add_argument(
        "--size", type=int, default=336, metavar="PX", help="of the longer side, 56 to 1344"
    )
    sub.add_argument(
        "--families", nargs="+", metavar="NAME", help="default: all that can be read at the size"
    )
    sub.add_argument("--split", choices=("train", "heldout"), default="train", help="which layouts")
    sub.add_argument(
        "--form", default="instructions", metavar="NAME",
        help="instructions (with descriptions), experience or preferences",
    )  # fmt: skip
    sub.add_argument("--aspects", choices=("square", "mixed"), default="square")
    sub.add_argument(
        "--text", type=Path, metavar="FILE.jsonl", help="`id` and `text` a line: words to draw"
    )
    sub.add_argument("--workers", type=int, default=1, metavar="N", help="processes")
    sub.add_argument("--preview", type=Path, metavar="FILE.png", help="write a contact sheet too")
    sub.add_argument("--preview-count", type=int, default=48, metavar="N", help="pictures on it")


def _synthesise(options: argparse.Namespace) -> dict[str, Any]:
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise no_matplotlib(error) from error
    from vl_data.synthesis.documents import read_documents
    from vl_data.synthesis.sheet import contact_sheet
    from vl_data.synthesis.synthesise import Settings, synthesise
    from vl_data.synthesis.texts import TextPool
    from vl_data.synthesis.write import write_samples

    settings = Settings(
        seed=options.seed,
        size=options.size,
        families=tuple(options.families) if options.families else None,
        split=options.split,
        aspects=options.aspects,
    )
    documents = list(read_documents(options.text)) if options.text else []
    started = time.monotonic()
    card = write_samples(
        options.out, options.count, settings, documents, options.workers, options.form
    )
    seconds = time.monotonic() - started
    if options.preview:
        texts = TextPool(documents)
        shown = range(max(1, min(options.count, options.preview_count)))
        samples = [synthesise(number, settings, texts) for number in shown]
        options.preview.parent.mkdir(parents=True, exist_ok=True)
        options.preview.write_bytes(contact_sheet(samples))
    return {"out": str(options.out), "seconds": round(seconds, 2), **card}
