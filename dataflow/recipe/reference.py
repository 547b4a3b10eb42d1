"""The reference of recipe keys, made from the models: ``docs/recipes.md`` between its markers."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dataflow.recipe import models, source_models
from dataflow.recipe.presets import DIALECTS
from dataflow.recipe.sizes import format_size, parse_size
from dataflow.recipe.yaml_tree import dump

BEGIN = (
    "<!-- Below: made by `python -m dataflow.recipe.reference docs/recipes.md`. Do not edit. -->"
)

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Top level", models.Recipe),
    ("`sources[]`", source_models.Source),
    ("`sources[].fields`", source_models.FieldMap),
    ("`sources[].sample`", source_models.SampleModel),
    ("`sources[].synthesis`", source_models.SynthesisModel),
    ("`sources[].extract`", source_models.Extract),
    ("`sources[].limits`", source_models.LimitsModel),
    ("`sources[].images`", source_models.ImagesModel),
    ("`sources[].captions`", source_models.CaptionsModel),
    ("`sources[].fit`", source_models.FitModel),
    ("`sources[].damage`", source_models.DamageModel),
    ("`rules.GROUP[]`", models.RuleEntry),
    ("`clean[]` and `sources[].clean[]`", source_models.CleanStep),
    ("`language`", models.Language),
    ("`reward`", models.Reward),
    ("`reward.guard`", models.Guard),
    ("`image_reward`", models.ImageReward),
    ("`tiers`", models.Tiers),
    ("`dedup`", models.Dedup),
    ("`dedup.near`", models.Near),
    ("`split`", models.Split),
    ("`tokenizer`", models.Tokenizer),
    ("`tokenizer.train`", models.Train),
    ("`pack`", models.Pack),
    ("`build`", models.Build),
)
_NAMED = (
    (source_models.Texts, "text or list of text"),
    (source_models.Scalar, "text, number or truth value"),
)


def render_reference() -> str:
    """Markdown tables of every key: type, default and meaning; then the presets' thresholds."""
    parts = [BEGIN, "", "## Keys", ""]
    for title, model in _SECTIONS:
        parts += [f"### {title}", "", (model.__doc__ or "").strip(), ""]
        parts += ["| key | value | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            key = field.alias or name
            if key == "lock":
                continue
            row = (f"`{key}`", _kind(field), _default(field), field.description or "")
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        parts.append("")
    parts += ["## Presets", ""]
    for dialect in DIALECTS.values():
        parts += [f"### `{dialect.name}`", "", f"{dialect.doc}. Source: {dialect.source}.", ""]
        parts += [f"- `{rule.describe()}`" for rule in dialect.rules]
        parts.append("")
    return "\n".join(parts)


def _kind(field: FieldInfo) -> str:
    # pydantic takes Annotated apart: what stood in it is in the field's metadata.
    if any(getattr(mark, "func", None) is parse_size for mark in field.metadata):
        return "size"
    return _type(field.annotation)


def _type(annotation: Any) -> str:
    for named, text in _NAMED:
        if annotation == named:
            return text
    if hasattr(annotation, "__metadata__"):
        return _type(get_args(annotation)[0])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin in (Union, types.UnionType):
        return _type(next(a for a in arguments if a is not type(None)))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return names.get(annotation, "value")


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    if _kind(field) == "size":
        return f"`{format_size(value).replace(' ', '')}`"
    if isinstance(value, (list, dict, str)) and not value:
        return "empty"
    if isinstance(value, (list, dict)):
        return f"`{_flow(value)}`"
    return f"`{dump(value).removesuffix('...' + chr(10)).strip()}`"


def _flow(value: Any) -> str:
    """A value as YAML has it on one line."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    return str(value)


def main() -> None:
    """Print the reference, or write it into the Markdown file named after the command."""
    if len(sys.argv) == 1:
        print(render_reference())
        return
    path = Path(sys.argv[1])
    head, _, _ = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(head + render_reference() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
