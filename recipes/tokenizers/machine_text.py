"""Collects the text that the pinned tokenizer was trained on: what a machine with Python has.

    python recipes/tokenizers/machine_text.py > machine-text.jsonl
    python -m dataflow tokenizer train machine-text.jsonl --vocab-size 32768 --out FOLDER

Each kind of text has a budget of bytes, filled by the texts with the smallest content hash, so the
choice does not depend on where files lie. Other machines hold other packages, hence other text and
another vocabulary: the trained tokenizer is checked in for that reason.
"""

from __future__ import annotations

import ast
import gettext
import gzip
import json
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import xxhash
from resiliparse.extract.html2text import extract_plain_text

MEGABYTE = 1_000_000
BUDGETS = {
    "python": 17 * MEGABYTE,
    "docstrings": 10 * MEGABYTE,
    "code": 6 * MEGABYTE,
    "docs": 16 * MEGABYTE,
    "changes": 2 * MEGABYTE,
    "html": 8 * MEGABYTE,
    "manuals": 12 * MEGABYTE,
    "data": 2 * MEGABYTE,
}
MAJOR = {
    *("ar", "bn", "cs", "de", "el", "es", "fa", "fr", "he", "hi", "hu", "id", "it"),
    *("ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh"),
}
"""Languages with much text on the web: they get the larger budget."""
MAJOR_BUDGET = 400_000
MINOR_BUDGET = 30_000
"""Bytes for each language but English (manuals and messages together)."""
MAX_TEXT = 200_000
"""Longer files are cut here (bytes): a single table must not fill a budget."""

SUFFIXES = {
    ".py": "python", ".pyi": "python", ".pyx": "python",
    ".c": "code", ".h": "code", ".hpp": "code", ".cpp": "code", ".js": "code", ".css": "code",
    ".sh": "code", ".pl": "code", ".cuh": "code",
    ".md": "docs", ".rst": "docs", ".txt": "docs", "METADATA": "docs", "copyright": "docs",
    ".info": "docs", ".pod": "docs",
    "README": "docs", "LICENSE": "docs", "NEWS": "changes", "changelog": "changes",
    "ChangeLog": "changes", "HISTORY": "changes",
    ".html": "html", ".htm": "html",
    ".json": "data", ".yaml": "data", ".toml": "data", ".cfg": "data",
}  # fmt: skip
ROFF_FONT = re.compile(r"\\f(?:[A-Z]|\([A-Z]{2}|\[[A-Z]*\])|\\[&|^%:]|\\s[-+]?\d")
ROFF_MACRO = re.compile(r"^[.'](\\\"|[A-Za-z]{1,3}\b).*?(?: |$)", re.MULTILINE)


def main() -> None:
    """Write one JSON line per text: ``{"kind": …, "text": …}``, ordered by content hash."""
    pools: dict[str, list[tuple[int, str]]] = {}
    seen: set[int] = set()
    for kind, text in _texts():
        cut = text.encode("utf-8", "ignore")[: min(MAX_TEXT, _budget(kind))]
        key = xxhash.xxh3_64_intdigest(cut)
        if cut and key not in seen:
            seen.add(key)
            pools.setdefault(kind, []).append((key, cut.decode("utf-8", "ignore")))
    chosen = []
    for kind, pool in pools.items():
        left = _budget(kind)
        for key, text in sorted(pool):
            if left <= 0:
                break
            left -= len(text.encode())
            chosen.append((key, kind, text))
    for _, kind, text in sorted(chosen):
        sys.stdout.write(json.dumps({"kind": kind, "text": text}, ensure_ascii=False) + "\n")


def _budget(kind: str) -> int:
    return BUDGETS.get(kind) or (MAJOR_BUDGET if kind in MAJOR else MINOR_BUDGET)


def _texts() -> Iterator[tuple[str, str]]:
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(stdlib.rglob("*")):
        if "site-packages" not in path.parts:
            yield from _file(path)
    for distribution in sorted(metadata.distributions(), key=lambda d: d.name.lower()):
        if distribution.name.lower() != "leyden":
            for file in sorted(distribution.files or (), key=str):
                yield from _file(Path(str(file.locate())))
    for folder in ("doc", "info", "perl", "perl5"):
        for path in sorted(Path("/usr/share", folder).rglob("*")):
            yield from _file(path)
    manuals = Path("/usr/share/man")
    for path in sorted(manuals.rglob("*.gz")):
        parts = path.relative_to(manuals).parts
        language = "en" if parts[0].startswith("man") else parts[0].partition("_")[0]
        # The many thousand generated pages of one vendor's command line teach nothing new.
        if not path.name.startswith("gcloud") and (raw := _read(path)) is not None:
            page = ROFF_MACRO.sub("", ROFF_FONT.sub("", raw)).replace("\\-", "-")
            yield ("manuals" if language == "en" else language), page
    for path in sorted(Path("/usr/share/locale").rglob("*.mo")):
        language = path.relative_to("/usr/share/locale").parts[0]
        if (text := _messages(path)) is not None:
            yield re.split("[_@]", language)[0], text


def _file(path: Path) -> Iterator[tuple[str, str]]:
    name = path.name.removesuffix(".gz").removesuffix(".Debian")
    kind = SUFFIXES.get(Path(name).suffix) or SUFFIXES.get(name)
    if kind is None or not path.is_file() or path.is_symlink():
        return
    text = _read(path)
    if text is not None:
        yield kind, extract_plain_text(text) if kind == "html" else text
        # One file in four, by content, also gives its docstrings: most of the prose there is.
        if path.suffix == ".py" and xxhash.xxh3_64_intdigest(text.encode()) % 4 == 0:
            yield "docstrings", "\n\n".join(_docstrings(text))


def _docstrings(source: str) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented):
            yield ast.get_docstring(node) or ""


def _read(path: Path) -> str | None:
    """The text of a file, or None of one that is not UTF-8 text."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError):
        return None


def _messages(path: Path) -> str | None:
    """The translated messages of a gettext catalogue, one a line."""
    try:
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    except (OSError, UnicodeDecodeError, ValueError, LookupError):
        return None
    return "\n".join(text for key, text in catalogue.items() if key and text)


if __name__ == "__main__":
    main()
