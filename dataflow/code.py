"""The code that a step's output depends on, found by following imports: a part of every key.

A change to that code can then never be mistaken for a finished task, and nobody has to keep a list.
Data files beside a module (``.txt``) count as part of it.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import blake3

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the rooms."""

ROOMS = ("dataflow", "dedup", "kernels", "quality", "vl_data")

MACHINERY = (
    "dataflow.tasks",
    "dataflow.store",
    "dataflow.journal",
    "dataflow.locks",
    "dataflow.parquet",
)
"""How tasks run and where their files lie: it shapes no content."""


DRAWING = "vl_data.synthesis."
"""What draws synthesised documents: a part of the fingerprints of the items that are drawn
(``dataflow.sources.synthesised.settings``), so that a change to it is no reason to read files
again."""


@functools.cache
def _file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _imports(file: Path) -> tuple[str, ...]:
    """Names that may be modules of the rooms: a name imported from a package may be one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return tuple(sorted(name for name in found if name.split(".")[0] in ROOMS))


@functools.cache
def reached(module: str) -> tuple[Path, ...]:
    """The files of ``module`` and of all that it imports from the rooms, sorted.

    A package counts with its ``__init__`` only where something is imported from the package itself.
    """
    files: set[Path] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        file = _file(name)
        if file is None or file in files or name in MACHINERY:
            continue
        if name.startswith(DRAWING) and not module.startswith(DRAWING):
            continue
        files.add(file)
        pending += _imports(file)
    data = {path for file in files for path in file.parent.glob("*.txt")}
    return tuple(sorted(files | data))


@functools.cache
def code_digest(module: str) -> str:
    """BLAKE3 over names and contents of the files of ``reached``; 64 hex digits."""
    digest = blake3.blake3()
    for file in reached(module):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return str(digest.hexdigest())
