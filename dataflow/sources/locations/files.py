"""Paths, folders, globs and URIs."""

from __future__ import annotations

import os

from dataflow.sources.filesystems import Found, is_remote, list_local, list_remote, local_path
from dataflow.sources.patterns import split_pattern
from dataflow.sources.spec import PlanError, SourceSpec


def list_files(spec: SourceSpec) -> list[Found]:
    """Everything that the paths of ``spec`` match.

    A local file's uri is relative to the deepest folder that all local paths share; a remote one's
    is its URI.

    Raises
    ------
    PlanError
        A path matches nothing.
    """
    if not spec.paths:
        raise PlanError(f"source {spec.name!r}: `paths` is empty; name a path, glob or URI")
    local = {p: local_path(p, spec.base) for p in spec.paths if not is_remote(p)}
    root = _shared_root(list(local.values()))
    found: list[Found] = []
    for path in spec.paths:
        rows = list_local(local[path], root) if path in local else list_remote(path, spec.storage)
        matched = list(rows)
        if not matched:
            where = f" (looked in {spec.base})" if path in local and not os.path.isabs(path) else ""  # noqa: PTH117
            raise PlanError(
                f"source {spec.name!r}: {path!r} matches nothing{where}; "
                "correct the path or remove it"
            )
        found += matched
    return found


def _shared_root(patterns: list[str]) -> str:
    prefixes = []
    for pattern in patterns:
        prefix, rest = split_pattern(pattern)
        is_folder = bool(rest) or os.path.isdir(prefix)  # noqa: PTH112 (a str, not a Path)
        prefixes.append(prefix if is_folder else os.path.dirname(prefix))  # noqa: PTH120
    return os.path.commonpath(prefixes) if prefixes else "/"
