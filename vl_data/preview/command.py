"""``python -m vl_data preview``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vl_data.preview.errors import PreviewRefused


def add_command(add: Callable[..., Any]) -> None:
    """Add the command to a parser."""
    sub = add("preview", _preview, "write a page of samples of a run as a model sees them")
    sub.add_argument("folder", metavar="RUN", help="a built run")
    sub.add_argument("--source", metavar="S", help="only of this source, one of text too")
    sub.add_argument("--count", type=int, default=24, metavar="N", help="documents; default: 24")
    sub.add_argument(
        "--tiling",
        default="released28",
        metavar="T",
        help="how images are tiled; default: %(default)s",
    )
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="draws other documents")
    sub.add_argument(
        "--out", type=Path, default=Path("preview.html"), metavar="PAGE.html",
        help="default: %(default)s",
    )  # fmt: skip


def _preview(options: argparse.Namespace) -> dict[str, Any]:
    from vl_data.preview.draw import draw
    from vl_data.preview.page import Shown, page, show
    from vl_data.preview.sample import read_samples
    from vl_data.preview.spelling import Speller
    from vl_data.runs.folder import RunFolder
    from vl_data.tiling import tiling_of

    if options.count < 1:
        raise PreviewRefused(f"--count: found {options.count}, expected at least 1")
    try:
        tiling = tiling_of(options.tiling).name
    except ValueError as error:
        raise PreviewRefused(f"--{error}") from None
    run = RunFolder.load(options.folder)
    samples = read_samples(run, draw(run, options.count, options.seed, options.source))
    speller = Speller(run.read(f"{run.tokenizer}/tokenizer.json"), run.specials)
    shown = [show(sample, speller, tiling) for sample in samples]
    text = page(run.uri, run.name, shown, tiling, options.seed)
    unfinished = options.out.with_name(options.out.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(options.out)

    def said(one: Shown) -> dict[str, Any]:
        return {
            "id": one.sample.doc_id.hex(),
            "source": one.sample.source,
            "split": one.sample.split,
            "uri": one.sample.uri,
            "text_tokens": one.text_tokens,
            "image_tokens": one.image_tokens,
            "learnt_tokens": one.learnt,
            "images": [
                {
                    "width": plan.width,
                    "height": plan.height,
                    "rows": plan.rows,
                    "columns": plan.columns,
                    "feature_rows": plan.feature_rows,
                    "feature_columns": plan.feature_columns,
                    "tokens": plan.tokens,
                }
                for plan in one.plans
            ],
            "faults": list(one.faults),
        }

    answer: dict[str, Any] = {
        "out": str(options.out),
        "bytes": len(text.encode()),
        "tiling": tiling,
        "seed": options.seed,
        "documents": len(shown),
        "images": sum(len(one.plans) for one in shown),
        "differ": [one.sample.doc_id.hex() for one in shown if one.faults],
    }
    return answer | ({"samples": list(map(said, shown))} if options.json else {})
