"""The recipes that benchmarks build, written into a folder next to what they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import ROOT

TOKENIZER = ROOT / "recipes" / "tokenizers" / "quickstart-32k"

RULES: list[dict[str, Any]] = [
    {"use": "gopher.repetition"},
    {"use": "gopher.quality"},
    {"use": "c4.document"},
    {"use": "fineweb.quality"},
]
"""FineWeb's filters in FineWeb's order (its C4 step without the terminal punctuation rule)."""


def write_recipe(
    folder: Path,
    name: str,
    source: dict[str, Any],
    *,
    rules: bool = True,
    language: bool = True,
    partition_bytes: int = 32 << 20,
) -> Path:
    """Write ``folder/NAME.yaml`` for one source; returns its path."""
    recipe: dict[str, Any] = {
        "name": name,
        "sources": [{"name": "input", **source, **({"rules": "web"} if rules else {})}],
        "language": {"enabled": language},
        "tokenizer": {"use": str(TOKENIZER)},
        "build": {"partition_bytes": partition_bytes},
    }
    if rules:
        recipe["rules"] = {"web": RULES}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def web_source(warcs: Path) -> dict[str, Any]:
    """The WARC files of a folder."""
    return {"paths": [str(warcs / "*.warc.gz")], "format": "warc"}


def documents_source(parts: Path) -> dict[str, Any]:
    """The JSONL parts of a folder of generated documents."""
    return {"paths": [str(parts / "*.jsonl*")], "format": "jsonl", "fields": {"id": "id"}}
