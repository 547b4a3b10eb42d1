"""Which files of a source tree are text written by people: chosen by name, never by content."""

from __future__ import annotations

from pathlib import PurePosixPath

from dataflow.sources.compression import strip_suffix
from dataflow.sources.formats.detect import by_name
from dataflow.sources.formats.suffixes import CODE, MARKUP, PROSE

WRITTEN = frozenset(CODE) | frozenset(MARKUP) | frozenset(PROSE)
_NAMES = """
AUTHORS BUGS CHANGELOG CHANGES CONTRIBUTING CONTRIBUTORS COPYING COPYRIGHT FAQ HACKING HISTORY
INSTALL LICENCE LICENSE MAINTAINERS MANIFEST METADATA NEWS NOTICE PATENTS README RELEASE
RELEASES SECURITY THANKS TODO copyright
"""
NAMES = frozenset(_NAMES.split())
"""Files without a suffix, or with one that says nothing, known by the first part of their name."""


def is_written(path: str) -> bool:
    """Whether ``path`` is source code, documentation, a licence or metadata."""
    name = strip_suffix(PurePosixPath(path).name)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in WRITTEN or by_name(path) == "man":
        return True
    stem = name.split(".")[0].split("-")[0].split("_")[0]
    return stem in NAMES and suffix not in (".json", ".toml", ".png", ".svg", ".pdf")
