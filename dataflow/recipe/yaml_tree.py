"""YAML to plain values that remember where they stand.

YAML 1.2's core schema: only ``true`` and ``false`` are truth values (so ``no`` is Norwegian),
``1e-3`` is a number, dates are text. Keys are always text. Anchors, aliases and ``<<`` merges work;
tags that would build objects, duplicate keys, and files that unfold into too much are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from dataflow.recipe.problems import Problem

Key = str | int
Path = tuple[Key, ...]

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
"""After aliases are unfolded: nine lines of aliases to aliases could be billions of values."""
MAX_DEPTH = 64

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_RESOLVERS: tuple[tuple[str, str, str], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
)
_SCALARS = {_TAG + name for name in ("str", "null", "bool", "int", "float")}

_COLLECTIONS = {_TAG + "map", _TAG + "seq"}


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Text to nodes under the core schema; it has no constructor and so builds no objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Writes what ``_Loader`` reads back as the same values."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    # Only double quotes write U+0085 and the like as escapes; other styles fold them as newlines.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(
        _TAG + _name,
        re.compile(rf"^(?:{_pattern})$"),
        [*_first, *([""] if _name == "null" else [])],
    )
_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


class Position(NamedTuple):
    """1-based line and column."""

    line: int
    column: int


@dataclass
class Tree:
    """The values of a file, and where each key and each value begins."""

    file: str
    data: Any = None
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, path: Path, of_key: bool = False) -> Position:
        """Where ``path`` stands, or the nearest thing above it that stands anywhere."""
        while path:
            found = self.keys.get(path) if of_key else None
            found = found or self.values.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return self.values.get((), Position(0, 0))

    def problem(
        self,
        path: Path,
        found: str,
        expected: str,
        nearest: str | None = None,
        of_key: bool = False,
    ) -> None:
        """Note a problem at ``path``."""
        line, column = self.position(path, of_key)
        self.problems.append(
            Problem(self.file, line, column, dotted(path), found, expected, nearest)
        )


def dotted(path: Path) -> str:
    """``("sources", 2, "name")`` as ``sources[2].name``; keys with a dot in brackets."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif "." in key or not key:
            text += f"[{key!r}]"
        else:
            text += f".{key}" if text else key
    return text


def dump(data: Any) -> str:
    """YAML text of plain values, in the order of their mappings; ``parse`` reads it back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def parse(file: str, content: bytes) -> Tree:
    """Parse one YAML document; what is wrong with it is in the tree's ``problems``.

    Parameters
    ----------
    file: its name, for the problems.
    content: its bytes, UTF-8 (a byte order mark is allowed).
    """
    tree = Tree(file)
    if len(content) > MAX_BYTES:
        tree.problem((), f"{len(content)} bytes", f"a recipe of at most {MAX_BYTES} bytes")
        return tree
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        found = f"byte 0x{content[error.start]:02x} ({error.reason})"
        tree.problems.append(Problem(file, line, column, "", found, "UTF-8 text"))
        return tree
    try:
        root = _compose(tree, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        found = " ".join(part for part in (error.problem, error.context) if part)
        tree.problems.append(Problem(file, line, column, "", found, "valid YAML"))
    except ReaderError as error:
        before_text = text[: error.position]
        line = before_text.count("\n") + 1
        column = len(before_text) - (before_text.rfind("\n") + 1) + 1
        found = f"the character U+{ord(text[error.position]):04X}"
        tree.problems.append(Problem(file, line, column, "", found, "printable characters"))
    else:
        if root is not None:
            tree.values[()] = _at(root)
            tree.data = _Builder(tree).build(root, ())
    return tree


def _compose(tree: Tree, text: str) -> Node | None:
    # The composer recurses, so depth is checked on its events first.
    depth = 0
    documents = 0
    for event in _events(text):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or documents > 1:
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
            found = "a second document" if documents > 1 else f"more than {MAX_DEPTH} levels"
            expected = "one document" if documents > 1 else "a recipe that nests less deeply"
            tree.problems.append(Problem(tree.file, line, column, "", found, expected))
            return None
    return _Loader(text).get_single_node()


def _events(text: str) -> Iterator[yaml.Event]:
    loader: Any = _Loader(text)
    while loader.check_event():
        yield loader.get_event()


def _at(node: Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


class _Builder:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.count = 0
        self.open: set[int] = set()

    def build(self, node: Node, path: Path) -> Any:
        """The values of ``node``; None, with a problem noted, for what cannot be one."""
        self.tree.values.setdefault(path, _at(node))
        self.count += 1
        if self.count > MAX_VALUES:
            if self.count == MAX_VALUES + 1:
                self.tree.problem(
                    path,
                    f"more than {MAX_VALUES} values once aliases are unfolded",
                    "a recipe of fewer values",
                )
            return None
        if id(node) in self.open:
            self.tree.problem(path, "an alias inside its own anchor", "values that end")
            return None
        if not isinstance(node, ScalarNode) and node.tag not in _COLLECTIONS:
            self.tree.problem(path, f"the tag {node.tag}", "plain YAML values")
            return None
        self.open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._scalar(cast(ScalarNode, node), path)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.tree.values.setdefault(path, _at(key_node))
                self.tree.problem(path, "a key that is a collection", "a key that is text")
                continue
            key = key_node.value
            at = (*path, key)
            if key_node.tag == _MERGE:
                self._merge(value_node, path, merged)
            elif key in own:
                first = self.tree.keys[at]
                self.tree.keys[at] = _at(key_node)
                self.tree.problem(
                    at, "a duplicate key", f"it once (it is also on line {first.line})", None, True
                )
                self.tree.keys[at] = first
            else:
                self.tree.keys[at] = _at(key_node)
                self.tree.values[at] = _at(value_node)
                own[key] = self.build(value_node, at)
        return {**{k: v for k, v in merged.items() if k not in own}, **own}

    def _merge(self, node: Node, path: Path, merged: dict[str, Any]) -> None:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        for part in parts:
            value = self.build(part, path) if isinstance(part, MappingNode) else None
            if not isinstance(value, dict):
                self.tree.problem((*path, "<<"), "no mapping", "an alias of a mapping to merge")
                continue
            for key, item in value.items():
                merged.setdefault(key, item)

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text = str(node.value)
        if node.tag not in _SCALARS:
            self.tree.problem(path, f"the tag {node.tag}", "plain YAML values")
            return None
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                base = {"0o": 8, "0x": 16}.get(text[:2], 10)
                return int(text[2:] if base != 10 else text, base)
            return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
        except ValueError:
            self.tree.problem(path, f"{text[:40]!r}", "a number")
            return None
