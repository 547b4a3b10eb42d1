"""Turn what pydantic says about a recipe into problems that name place, key and valid names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dataflow.recipe.models import Recipe
from dataflow.recipe.problems import nearest, one_of, shown
from dataflow.recipe.yaml_tree import Path, Tree

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "greater_than": "a value above {gt}",
    "greater_than_equal": "a value of at least {ge}",
    "less_than": "a value below {lt}",
    "less_than_equal": "a value of at most {le}",
    "too_short": "at least {min_length}",
    "string_too_short": "at least {min_length} character",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "one of {expected}",
}


def note_schema_problems(tree: Tree, error: ValidationError) -> None:
    """Add a problem to ``tree`` for each thing that ``error`` lists."""
    seen: set[Path] = set()
    for item in error.errors(include_url=False):
        path, rest = known_part(tree, item["loc"])
        kind = item["type"]
        if kind == "missing":
            key = str(item["loc"][-1])
            tree.problem(
                (*path, key) if rest else path, "nothing", f"{key}: {_describe(path, key)}"
            )
            continue
        if path in seen:  # the members of a union each complain
            continue
        seen.add(path)
        if kind == "extra_forbidden":
            valid = valid_keys(path[:-1])
            name = str(path[-1])
            tree.problem(
                path, f"unknown key {name!r}", one_of(valid), nearest(name, valid), of_key=True
            )
        elif rest and rest[-1] == "[key]":
            expected = _EXPECTED.get(kind, item["msg"]).format_map(item.get("ctx", {}))
            tree.problem(path, f"key {shown(item['input'])}", expected, of_key=True)
        else:
            context = item.get("ctx", {})
            expected = _EXPECTED.get(kind, item["msg"]).format_map(context)
            near = None
            if kind == "literal_error" and isinstance(item["input"], str):
                near = nearest(item["input"], re.findall("'([^']*)'", str(context["expected"])))
            tree.problem(path, shown(item["input"]), expected, near)


def known_part(tree: Tree, location: tuple[str | int, ...]) -> tuple[Path, Path]:
    """Split pydantic's location into the part that stands in the file and the rest."""
    for end in range(len(location), 0, -1):
        if location[:end] in tree.values:
            return location[:end], location[end:]
    return (), location


def valid_keys(path: Path, root: type[BaseModel] = Recipe) -> list[str]:
    """The keys a mapping at ``path`` of a ``root`` may have; empty where any key may stand."""
    model = model_at(path, root)
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items() if name != "lock"]


def model_at(path: Path, root: type[BaseModel] = Recipe) -> type[BaseModel] | None:
    """The model that describes the mapping at ``path`` of a ``root``, or None."""
    kind: Any = root
    for key in path:
        kind = _bare(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            by_key = {f.alias or n: f.annotation for n, f in kind.model_fields.items()}
            kind = by_key.get(str(key))
        elif get_origin(kind) in (list, tuple) and isinstance(key, int):
            kind = get_args(kind)[0]  # a tuple here is of one kind: tuple[X, ...]
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            return None
    kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _bare(kind: Any) -> Any:
    """A type without ``Annotated`` and ``| None``."""
    while True:
        if hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
            continue
        members = [member for member in get_args(kind) if member is not NoneType]
        if len(members) == 1 and NoneType in get_args(kind):
            kind = members[0]
            continue
        return kind


def _describe(path: Path, key: str) -> str:
    model = model_at(path)
    fields: Mapping[str, Any] = model.model_fields if model is not None else {}
    field = fields.get(key)
    return (field.description or "a value") if field is not None else "a value"
