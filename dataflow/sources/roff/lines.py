"""The control flow of roff: definitions, conditions, and the lines that are left.

Conditions are decided as groff does for a terminal (``n`` is true, ``t`` false); number registers
are not kept, so that a comparison is false but for ``\\n(.g``, which asks for groff.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dataflow.sources.roff.escapes import comment_cut, interpolate

_REQUEST = re.compile(r"[.'][ \t]*([^ \t\\]*)[ \t]*(.*)", re.DOTALL)
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\ |\\\n|[^ \t])+)')
_PARAMETER = re.compile(r"\\+\$(?:(\d)|[*@])")
_END = re.compile(r"^\.[ \t]+")
_BUDGET = 200_000
"""Lines that macros of a page may expand to, so that one that calls itself ends."""


class Line:
    """A text line (``request`` is empty) or a request with its rest, unrendered."""

    __slots__ = ("request", "rest")

    def __init__(self, request: str, rest: str) -> None:
        self.request = request
        self.rest = rest

    def arguments(self) -> list[str]:
        """The arguments of a macro: split at blanks that are not quoted."""
        return split_arguments(self.rest)


def split_arguments(rest: str) -> list[str]:
    """Arguments of a macro line."""
    found = []
    for match in _ARGUMENT.finditer(rest):
        quoted = match[1]
        found.append(quoted.replace('""', '"') if quoted is not None else match[2])
    return found


class Lines:
    """The lines of a page after definitions and conditions are dealt with."""

    def __init__(self, source: str) -> None:
        self._stack = [iter(source.split("\n"))]
        self._strings: dict[str, str] = {}
        self._macros: dict[str, list[str]] = {}
        self._budget = _BUDGET
        self._else = False
        self._open = 0

    def _raw(self) -> str | None:
        while self._stack:
            line = next(self._stack[-1], None)
            if line is None:
                self._stack.pop()
                continue
            while line.endswith("\\") and not line.endswith("\\\\"):
                more = next(self._stack[-1], None)
                if more is None:
                    break
                line = line[:-1] + more
            return line
        return None

    def __iter__(self) -> Iterator[Line]:
        while (raw := self._raw()) is not None:
            raw = raw.replace("\\}", "")
            line = comment_cut(raw)
            if not line and raw:
                continue
            line = interpolate(line, self._strings)
            if line[:1] not in (".", "'"):
                yield Line("", line)
                continue
            match = _REQUEST.match(line)
            if match is None or not match[1]:
                continue
            if self._control(match[1], match[2]):
                continue
            yield Line(match[1], match[2])

    def _control(self, name: str, rest: str) -> bool:
        """Deal with a request that concerns the flow; False for any other."""
        if name in ("de", "de1", "am", "ig"):
            self._define(name, rest)
        elif name in ("ds", "as"):
            key, _, value = rest.partition(" ")
            old = self._strings.get(key, "") if name == "as" else ""
            value = value.lstrip(" ").removeprefix('"').replace("\\\\", "\\")
            self._strings[key] = (old + value)[:10_000]
        elif name in ("if", "ie"):
            true, body = _condition(rest)
            self._else = not true
            self._branch(true, body)
        elif name == "el":
            self._branch(self._else, rest.strip())
        elif name in self._macros:
            self._call(name, rest)
        else:
            return False
        return True

    def _define(self, name: str, rest: str) -> None:
        words = rest.split()
        end = "." + words[1] if len(words) > 1 and name != "ig" else ".."
        if name == "ig" and words:
            end = "." + words[0]
        body: list[str] = []
        while (raw := self._raw()) is not None and _END.sub(".", raw.strip()) != end:
            body.append(raw)
        if words and name in ("de", "de1"):
            self._macros[words[0]] = body

    def _call(self, name: str, rest: str) -> None:
        body = self._macros[name]
        self._budget -= len(body) + 1
        if self._budget < 0:
            return
        arguments = split_arguments(rest)

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return " ".join(arguments)
            index = int(match[1]) - 1
            return arguments[index] if 0 <= index < len(arguments) else ""

        self._stack.append(iter([_PARAMETER.sub(value, b).replace("\\\\", "\\") for b in body]))

    def _branch(self, taken: bool, body: str) -> None:
        if body.startswith("\\{"):
            first = body[2:].lstrip()
            if taken:
                self._stack.append(iter([first] if first else []))
            else:
                self._skip_block(body)
        elif taken and body:
            self._stack.append(iter([body]))

    def _skip_block(self, first: str) -> None:
        depth = first.count("\\{") - first.count("\\}")
        while depth > 0 and (raw := self._raw()) is not None:
            depth += raw.count("\\{") - raw.count("\\}")


_CONDITION = re.compile(
    r"\s*(?P<not>!)?\s*(?:(?P<letter>[noetvcdrmFS])(?=[\s.\\'{]|$)(?P<name>(?<=[drm])\s*\S+)?"
    r"|'(?P<left>[^']*)'(?P<right>[^']*)'|\"(?P<a>[^\"]*)\"(?P<b>[^\"]*)\""
    r"|(?P<expression>\(.*?\)(?=\s)|\S+))\s*(?P<body>.*)",
    re.DOTALL,
)


def _condition(rest: str) -> tuple[bool, str]:
    match = _CONDITION.match(rest)
    if match is None:
        return False, ""
    if match["letter"]:
        true = match["letter"] in "no"
    elif match["left"] is not None:
        true = match["left"] == match["right"]
    elif match["a"] is not None:
        true = match["a"] == match["b"]
    else:
        true = match["expression"] in ("\\n(.g", "\\n[.g]", "1")
    return true != bool(match["not"]), match["body"]
