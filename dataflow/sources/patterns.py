"""Globs: ``*`` and ``?`` inside a name, ``**`` across folders, ``[ab]`` and ``{a,b}`` choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

_MAGIC = re.compile(r"[*?\[{]")


def split_pattern(pattern: str) -> tuple[str, str]:
    """The folder a pattern starts in, which holds no magic, and the pattern below it."""
    if not _MAGIC.search(pattern):
        return pattern, ""
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:first]) or "/", "/".join(parts[first:])


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """A test whether a relative path, with ``/`` between names, matches ``pattern`` as a whole."""
    compiled = re.compile(_translate(pattern), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def selector(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """A test whether a path matches one of ``include`` (none: all) and none of ``exclude``."""
    wanted = [matcher(p) for p in include]
    unwanted = [matcher(p) for p in exclude]

    def selected(path: str) -> bool:
        if wanted and not any(test(path) for test in wanted):
            return False
        return not any(test(path) for test in unwanted)

    return selected


def _translate(pattern: str) -> str:
    out: list[str] = []
    i = 0
    braces = 0
    while i < len(pattern):
        c = pattern[i]
        i += 1
        if c == "*" and pattern.startswith("*", i):
            i += 1
            if pattern.startswith("/", i):
                i += 1
                out.append("(?:.*/)?")
            else:
                out.append(".*")
        elif c == "*":
            out.append("[^/]*")
        elif c == "?":
            out.append("[^/]")
        elif c == "[" and (end := pattern.find("]", i + 1)) > 0:
            chosen = pattern[i:end].replace("\\", r"\\")
            out.append("[" + ("^" + chosen[1:] if chosen[0] in "!^" else chosen) + "]")
            i = end + 1
        elif c == "{" and "}" in pattern[i:]:
            braces += 1
            out.append("(?:")
        elif c == "}" and braces:
            braces -= 1
            out.append(")")
        elif c == "," and braces:
            out.append("|")
        else:
            out.append(re.escape(c))
    return "".join(out)
