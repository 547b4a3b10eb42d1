"""Loads the YAML files of models and stages, or says where they are wrong.

Errors are ``dataflow.recipe.RecipeError``: each problem has file, line, column, key, what was
found, what was expected, and the nearest valid name.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from dataflow.recipe.problems import Problem, RecipeError, nearest, one_of, shown
from dataflow.recipe.validating import validated
from dataflow.recipe.yaml_tree import parse
from trainer.models.recipe import ModelRecipe
from trainer.stages.recipe import StageRecipe
from trainer.stages.scaling import ScaleRefused, scaled

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
"""Where the models and stages that come with the project lie."""

_M = TypeVar("_M", bound=BaseModel)


def load_model(name_or_path: str | Path) -> ModelRecipe:
    """The model of a name in ``recipes/models``, or of a YAML file.

    Raises
    ------
    RecipeError
        With everything that is wrong with it, or the nearest name if there is none of this name.
    OSError
        If the file cannot be read.
    """
    return _read(_find(name_or_path, "models", "model"), ModelRecipe, {})


def load_stage(
    name_or_path: str | Path,
    scale: Fraction | None = None,
    *,
    variant: str | None = None,
    tokens: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    long_qa: float | None = None,
) -> StageRecipe:
    """The stage of a name in ``recipes/stages``, or of a YAML file, scaled.

    Parameters
    ----------
    name_or_path: a stage, or its file (anything with a slash or a suffix).
    scale: of ``trainer.stages.scaling.scaled``; None: the file's own, 1 where it has none.
    variant: another curriculum, by its name under ``variants``. A stage that the curriculum leaves
        as it is does not name it.
    tokens: the budget, instead of the scaled one.
    batch: tokens of the first batch size, instead of the scaled one.
    rate: the first phase's learning rate, instead of the scaled one; the others keep their ratio.
    long_qa: the share of long questions, instead of the file's; 0 trains without.

    Raises
    ------
    RecipeError
        With everything that is wrong with it; for a name that is none, the nearest one; for a
        scale that does not fit its length, the nearest ones that do.
    OSError
        If the file cannot be read.
    """
    path = _find(name_or_path, "stages", "stage")
    changes = {} if long_qa is None else {"long_qa": long_qa}
    stage = _read(path, StageRecipe, changes)
    own = stage.scale
    if variant is not None:
        stage = _varied(stage, variant, path)
    # One curriculum is chosen; the amounts of the others would stay unscaled.
    stage = stage.model_copy(update={"scale": Fraction(1), "variants": {}})
    try:
        return scaled(stage, own if scale is None else scale, tokens=tokens, batch=batch, rate=rate)
    except ScaleRefused as refused:
        raise RecipeError([Problem(str(path), 0, 0, "", refused.found, refused.expected)]) from None


def chain(name_or_path: str | Path, variant: str | None = None) -> list[str]:
    """The stages up to this one, the first first, as names or paths that ``load_stage`` takes.

    A predecessor is looked for beside a stage's file first, then among those of the project.

    Raises
    ------
    RecipeError
        As ``load_stage``; and where stages start from each other in a circle.
    """
    names = [str(name_or_path)]
    here: str | Path = name_or_path
    seen: list[Path] = []
    while True:
        path = _find(here, "stages", "stage")
        if path in seen:
            names_seen = " → ".join(p.stem for p in [*seen, path])
            expected = "stages that end with one that starts from initial weights"
            raise RecipeError(
                [Problem(str(path), 0, 0, "after", f"a circle {names_seen}", expected)]
            )
        seen.append(path)
        after = load_stage(path, Fraction(1), variant=variant).after
        if after is None:
            return names[::-1]
        beside = path.parent / f"{after}.yaml"
        own = path.parent != RECIPES / "stages" and beside.is_file()
        here = beside if own else after
        names.append(str(here))


def joined(names: list[str], start: list[str]) -> list[str]:
    """A chain whose stages come after another stage than their files say.

    Parameters
    ----------
    names, start: as ``chain`` returns them, of the last stage and of the one to start from.

    Returns
    -------
    ``start``, and behind it the stages of ``names`` that are not in it.

    Raises
    ------
    RecipeError
        If no stage is left, or the two share none.
    """
    behind = [name for name in names if name not in start]
    if not behind or len(behind) == len(names):
        found = f"--from {Path(start[-1]).stem}, which " + (
            f"{Path(names[-1]).stem} is a part of" if not behind else "shares no stage with it"
        )
        expected = "a stage that begins as it does, such as the last of its stages of text"
        raise RecipeError([Problem(names[-1], 0, 0, "after", found, expected)])
    return [*start, *behind]


def names_of(kind: str) -> list[str]:
    """The names of the recipes that come with the project; ``kind`` is ``models`` or ``stages``."""
    return sorted(path.stem for path in (RECIPES / kind).glob("*.yaml"))


def _find(name_or_path: str | Path, kind: str, word: str) -> Path:
    text = str(name_or_path)
    known = names_of(kind)
    if text in known:
        return RECIPES / kind / f"{text}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    is_path = "/" in text or path.suffix in (".yaml", ".yml")
    found = f"no such {word} file" if is_path else f"no {word} {text!r}"
    expected = f"{one_of(known)}, or the path of a YAML file"
    raise RecipeError([Problem(text, 0, 0, "", found, expected, nearest(path.stem, known))])


def _read(path: Path, model: type[_M], changes: dict[str, Any]) -> _M:
    tree = parse(str(path), path.read_bytes())
    recipe = validated(tree, model, changes)
    name = getattr(recipe, "name", path.stem)
    if name != path.stem:
        tree.problem(("name",), shown(name), f"{path.stem!r}, as the file is called")
        raise RecipeError(tree.problems)
    return recipe


def _varied(stage: StageRecipe, variant: str, path: Path) -> StageRecipe:
    changes = stage.variants.get(variant)
    if changes is None:
        known = sorted({*stage.variants, *_shipped_variants()})
        if variant not in known:
            expected = one_of(known) if known else "none: no stage has variants"
            raise RecipeError(
                [
                    Problem(
                        str(path), 0, 0, "variants", f"no variant {variant!r}", expected,
                        nearest(variant, known),
                    )
                ]
            )  # fmt: skip
        return stage
    if changes.tokens is not None:
        stage = scaled(stage, tokens=changes.tokens, batch=stage.batch[0].tokens)
    return stage if changes.after is None else stage.model_copy(update={"after": changes.after})


@cache
def _shipped_variants() -> frozenset[str]:
    paths = [RECIPES / "stages" / f"{name}.yaml" for name in names_of("stages")]
    return frozenset(name for path in paths for name in _read(path, StageRecipe, {}).variants)
