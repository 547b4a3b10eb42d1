"""The Python standard library of the running interpreter: its sources and its documentation."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from dataflow.sources.digests import file_digest
from dataflow.sources.filesystems import Found, list_local
from dataflow.sources.locations.kinds import is_written
from dataflow.sources.spec import PlanError, SourceSpec

_NOT_LIBRARY = ("site-packages/", "dist-packages/", "lib-dynload/", "config-")
_MADE_HERE = ("_sysconfigdata", "sitecustomize", "usercustomize")
"""Files that a build or an administrator writes: they differ between machines of one version."""
LICENSE = "PSF-2.0"


def list_stdlib(spec: SourceSpec) -> list[Found]:
    """The library's written files as ``stdlib:path``, with fingerprints of their content.

    Raises
    ------
    PlanError
        The library is not in a folder (a zipped or frozen interpreter).
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    if not root.is_dir():
        raise PlanError(
            f"source {spec.name!r}: {root} is not a folder; "
            f"Python {sys.version.split()[0]} has no readable standard library"
        )
    found = []
    for row in list_local(str(root), str(root)):
        if row.uri.startswith(_NOT_LIBRARY) or Path(row.uri).name.startswith(_MADE_HERE):
            continue
        if not row.reason:
            if not is_written(row.uri):
                continue
            row = row._replace(fingerprint=file_digest(row.locator), license=LICENSE)
        found.append(row._replace(uri="stdlib:" + row.uri))
    return found
