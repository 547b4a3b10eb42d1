"""What a build would read and about how much would come of it, before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dataflow.recipe.models import Recipe
from dataflow.recipe.sizes import format_size
from dataflow.sources import Item, Partition
from dataflow.sources.spec import item_bytes

TEXT_PER_BYTE = {
    "html": 0.27,
    "jsonl": 0.9,
    "man": 0.75,
    "parquet": 2.0,
    "pdf": 0.05,
    "synthesised": 0.004,
    "warc": 0.1,
}
"""Text bytes per byte of a format (decompressed), roughly; 1 for formats that are text. A
synthesised picture counts as its pixels."""

EXPANSION = {".gz": 3.2, ".xz": 4.5, ".zst": 3.5, ".bz2": 4.5}
"""Decompressed bytes per stored byte, roughly."""

BYTES_PER_TOKEN = 3.8
"""Of a 32k vocabulary over prose, code and markup together."""

TEXT_BYTES_PER_SECOND = 2.5e6
"""Of one core through all steps, extraction apart: an order of magnitude."""

MARKUP_BYTES_PER_SECOND = 7e6
"""Of one core through HTML extraction."""

DRAWN_BYTES_PER_SECOND = 7e6
"""Pixels' bytes of one core, from drawing to shards."""


def describe_plan(
    recipe: Recipe, plans: Mapping[str, Sequence[Partition]], workers: int = 1
) -> dict[str, Any]:
    """Sizes of a plan as found, and of what a build would make of it as estimated.

    Parameters
    ----------
    recipe, plans: as ``plan_recipe`` returns them.
    workers: processes that would share the work.

    Returns
    -------
    A JSON object: ``sources`` (one object each, in the recipe's order) and ``total``, with
    ``files``, ``bytes`` (as stored), ``partitions``, and under ``estimated`` text bytes, tokens
    (of all that is read, before any rule) and seconds.
    """
    sources: list[dict[str, Any]] = []
    for source in recipe.sources:
        items = [item for partition in plans[source.name] for item in partition.items]
        text = sum(_text_bytes(item) for item in items)
        markup = sum(_decoded_bytes(item) for item in items if item.format in ("html", "warc"))
        drawn = sum(item_bytes(item) for item in items if item.format == "synthesised")
        seconds = text / TEXT_BYTES_PER_SECOND + markup / MARKUP_BYTES_PER_SECOND
        seconds += drawn / DRAWN_BYTES_PER_SECOND
        sources.append(
            {
                "name": source.name,
                "kind": source.kind,
                "rules": source.rules,
                "absent": not items,
                "files": len({item.uri for item in items}),
                "bytes": sum(partition.bytes for partition in plans[source.name]),
                "partitions": len(plans[source.name]),
                "estimated": {
                    "text_bytes": round(text),
                    "tokens": round(text / BYTES_PER_TOKEN),
                    "seconds": round(seconds / max(workers, 1), 1),
                },
            }
        )
    total: dict[str, Any] = {
        key: sum(source[key] for source in sources) for key in ("files", "bytes", "partitions")
    }
    total["estimated"] = {
        key: round(sum(source["estimated"][key] for source in sources), 1)
        for key in ("text_bytes", "tokens", "seconds")
    }
    return {"ok": True, "name": recipe.name, "workers": workers, "sources": sources, "total": total}


def print_plan(plan: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what ``describe_plan`` returned as a table."""
    table = Table(
        title=f"Plan of {plan['name']}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("source", no_wrap=True)
    for column in ("files", "bytes", "≈ text", "≈ tokens", "≈ time"):
        table.add_column(column, justify="right", no_wrap=True)
    for source in plan["sources"]:
        name = source["name"] + (" (absent)" if source["absent"] else "")
        table.add_row(name, *_cells(source))
    table.add_section()
    table.add_row("total", *_cells(plan["total"]), style="bold")
    console = console or Console()
    console.print(table)
    workers = plan["workers"]
    console.print(
        f"Estimates (≈) are before any rule, for {workers} worker{'s' if workers != 1 else ''}.",
        style="dim",
    )


def _cells(part: Mapping[str, Any]) -> list[str]:
    estimated = part["estimated"]
    return [
        f"{part['files']:,}",
        format_size(part["bytes"]),
        format_size(estimated["text_bytes"]),
        _count(estimated["tokens"]),
        _time(estimated["seconds"]),
    ]


def _decoded_bytes(item: Item) -> float:
    size = item_bytes(item)
    suffix = item.uri[item.uri.rfind(".") :].lower() if "." in item.uri else ""
    return size * EXPANSION.get(suffix, 1.0)


def _text_bytes(item: Item) -> float:
    return _decoded_bytes(item) * TEXT_PER_BYTE.get(item.format, 1.0)


def _count(number: float) -> str:
    for unit in ("", " K", " M", " B"):
        if number < 1000:
            return f"{number:.0f}" if not unit else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} T"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
