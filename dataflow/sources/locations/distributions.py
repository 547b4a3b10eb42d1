"""Installed Python packages, by name: what their RECORD lists and people wrote."""

from __future__ import annotations

import base64
import json
import re
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path, PurePosixPath

from dataflow.sources.digests import file_digest
from dataflow.sources.filesystems import Found
from dataflow.sources.locations.kinds import is_written
from dataflow.sources.locations.licenses import license_of
from dataflow.sources.spec import PlanError, SourceSpec

_OURSELVES = "leyden"
_BOOKKEEPING = ("RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json")
"""Written by the installer: they differ between machines, or say nothing."""


def list_distributions(spec: SourceSpec) -> list[Found]:
    """The written files of each distribution as ``dist:NAME-VERSION/path``.

    Paths below the environment's ``share`` keep that part; scripts, which hold the path of the
    interpreter, caches and everything compiled are left out. Fingerprints are RECORD's own SHA-256.

    Raises
    ------
    PlanError
        A distribution is not installed, is editable, has no RECORD, or is Leyden itself.
    """
    if not spec.distributions:
        raise PlanError(f"source {spec.name!r}: `distributions` is empty; name installed packages")
    found: list[Found] = []
    for name in spec.distributions:
        found += _list_one(spec, name)
    return found


def _list_one(spec: SourceSpec, name: str) -> list[Found]:
    where = f"source {spec.name!r}: distribution {name!r}"
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    if canonical == _OURSELVES:
        raise PlanError(f"{where} is Leyden itself, which is never read; remove it")
    try:
        dist = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        names = sorted({str(d.metadata["Name"]) for d in metadata.distributions()})
        near = get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; install it or remove it"
        raise PlanError(f"{where} is not installed{hint}") from None
    direct = json.loads(dist.read_text("direct_url.json") or "{}")
    if direct.get("dir_info", {}).get("editable"):
        raise PlanError(f"{where} is an editable install, whose files RECORD does not list")
    if dist.files is None:
        raise PlanError(f"{where} has no RECORD; reinstall it with pip or uv")
    license_id = license_of(dist.metadata)
    stem = f"dist:{canonical}-{dist.version}/"
    found = []
    for path in dist.files:
        inside = _inside(path)
        if inside is None or not is_written(inside):
            continue
        locator = str(Path(str(dist.locate_file(path))).absolute())
        found.append(_found(stem + inside, locator, path, license_id))
    return found


def _inside(path: PurePosixPath) -> str | None:
    """The path within the distribution, or None for what is not part of its content."""
    parts = list(path.parts)
    if parts[0] == "..":
        rest = [p for p in parts if p != ".."]
        if not rest or rest[0] != "share":
            return None
        return "/".join(rest)
    if "__pycache__" in parts or path.is_absolute():
        return None
    if ".dist-info" in parts[0] and parts[-1] in _BOOKKEEPING:
        return None
    return path.as_posix()


def _found(uri: str, locator: str, path: metadata.PackagePath, license_id: str) -> Found:
    try:
        size = Path(locator).stat().st_size
    except OSError:
        detail = "listed in RECORD, not on disk"
        return Found(uri, locator, license=license_id, reason="vanished", detail=detail)
    if path.hash is not None and path.hash.mode == "sha256":
        padded = path.hash.value + "=" * (-len(path.hash.value) % 4)
        fingerprint = "sha256:" + base64.urlsafe_b64decode(padded).hex()
    else:
        fingerprint = file_digest(locator)
    return Found(uri, locator, size, fingerprint, license_id)
