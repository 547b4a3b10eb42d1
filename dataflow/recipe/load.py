"""Load a recipe: parse, check everything, fill in every default; or report all that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dataflow.recipe import checks
from dataflow.recipe.models import Recipe, RuleEntry
from dataflow.recipe.problems import Problem, RecipeError, nearest
from dataflow.recipe.reward_checks import check_reward, check_tiers
from dataflow.recipe.schema import note_schema_problems
from dataflow.recipe.source_models import CleanStep, Source
from dataflow.recipe.yaml_tree import Path as KeyPath
from dataflow.recipe.yaml_tree import Tree, parse
from dataflow.sources import Partition, PlanError, SourceSpec, plan
from dataflow.sources.filesystems import is_remote, list_local, local_path
from dataflow.sources.labels import problem as captions_problem
from dataflow.sources.patterns import selector, split_pattern
from vl_data.reward.scores_file import ScoresError, read_scores

_M = TypeVar("_M", bound=BaseModel)
Plans = dict[str, list[Partition]]
Planner = Callable[[SourceSpec, int], list[Partition]]


def load_recipe(path: str | Path, folder: str | Path | None = None) -> Recipe:
    """Load and check a recipe or a lock file, without looking at its sources.

    Parameters
    ----------
    path: the YAML file.
    folder: where relative paths start; default: the file's folder.

    Returns
    -------
    The recipe with defaults filled in, presets expanded, seeds and text edits inherited. A lock
    file gives the recipe it was made from.

    Raises
    ------
    RecipeError
        With everything that is wrong, each with file, line, column and key.
    OSError
        If the file cannot be read.
    """
    recipe, tree = _load(path, folder)
    if recipe is None or tree.problems:
        raise RecipeError(tree.problems)
    return recipe


def plan_recipe(
    path: str | Path, folder: str | Path | None = None, planner: Planner = plan
) -> tuple[Recipe, Plans]:
    """Load and check a recipe, and plan its sources: paths that match nothing are problems too.

    Returns
    -------
    The recipe, and the partitions of each source by its name. Paths of an ``optional`` source
    that match nothing are left out; it has no partitions if none is left.

    Raises
    ------
    RecipeError, OSError
        As ``load_recipe``.
    """
    recipe, tree = _load(path, folder)
    plans: Plans = {}
    sources = _sources(tree) if recipe is None else dict(enumerate(recipe.sources))
    base = _folder(path, folder)
    for i, source in sources.items():
        if tree.problems and any(_under(p.key, f"sources[{i}]") for p in tree.problems):
            continue
        size = recipe.build.partition_bytes if recipe is not None else 32 << 20
        spec = source.spec(base)
        if source.optional:
            spec = replace(spec, paths=tuple(p for p in spec.paths if _present(spec, p)))
            if not spec.paths:
                plans[source.name] = []
                continue
        wrong = None if spec.captions is None else captions_problem(spec.captions)
        if wrong is not None:
            tree.problem(("sources", i, "captions", "refined"), *wrong)
            continue
        try:
            plans[source.name] = planner(spec, size)
        except PlanError as error:
            message = str(error).removeprefix(f"source {source.name!r}: ")
            at = _guilty(tree, i, source, message)
            if source.kind == "synthesised":
                tree.problem(at, *_found_expected(message))
            else:
                tree.problem(at, message, "something to read")
    if recipe is None or tree.problems:
        raise RecipeError(tree.problems)
    return recipe, plans


def locked_packages(path: str | Path) -> dict[str, str]:
    """The package versions that a lock file records; empty for a recipe."""
    tree = parse(str(path), Path(path).read_bytes())
    lock = tree.data.get("lock") if isinstance(tree.data, dict) else None
    packages = lock.get("packages") if isinstance(lock, dict) else None
    return {str(k): str(v) for k, v in packages.items()} if isinstance(packages, dict) else {}


def _guilty(tree: Tree, i: int, source: Source, message: str) -> KeyPath:
    """The key that a planner's message is about: the very path or distribution, if it names one."""
    if source.kind == "synthesised":
        field = ("sources", i, "synthesis", message.partition(":")[0])
        return field if field in tree.values else ("sources", i, "synthesis")
    key = {"files": "paths", "distributions": "distributions"}.get(source.kind, "kind")
    for j, name in enumerate(getattr(source, key) if key != "kind" else ()):
        if repr(name) in message and ("sources", i, key, j) in tree.values:
            return ("sources", i, key, j)
    return ("sources", i, key)


def _found_expected(message: str) -> tuple[str, str]:
    """X and Y of ``FIELD: found X, expected Y``."""
    found, _, expected = message.partition(", expected ")
    return found.partition("found ")[2], expected


def _present(spec: SourceSpec, path: str) -> bool:
    """Whether a path of an optional source has a file to read; remote ones are asked later."""
    if is_remote(path):
        return True
    full = local_path(path, spec.base)
    selected = selector(spec.include, spec.exclude)
    found = list_local(full, split_pattern(full)[0])
    return any(not file.reason and selected(file.uri) for file in found)


def _folder(path: str | Path, folder: str | Path | None) -> Path:
    return Path(folder) if folder is not None else Path(path).parent


def _load(path: str | Path, folder: str | Path | None) -> tuple[Recipe | None, Tree]:
    tree = parse(str(path), Path(path).read_bytes())
    if tree.data is None and tree.problems:
        return None, tree
    if not isinstance(tree.data, dict):
        found = "an empty file" if tree.data is None else "no mapping"
        tree.problem((), found, "a mapping with name, sources and tokenizer")
        return None, tree
    try:
        Recipe.model_validate(tree.data)
    except ValidationError as error:
        note_schema_problems(tree, error)
    base = _folder(path, folder)
    resolved = _resolve(tree, base)
    if tree.problems:
        return None, tree
    recipe = Recipe.model_validate(resolved)
    recipe._folder = base
    return recipe, tree


def _resolve(tree: Tree, folder: Path) -> dict[str, Any]:
    """The recipe's data with everything inherited and expanded; notes problems of meaning."""
    data = {key: value for key, value in tree.data.items() if key != "lock"}
    sources = _sources(tree)
    raw_rules = data.get("rules")
    groups: dict[str, Any] = raw_rules if isinstance(raw_rules, dict) else {}
    language = _get(data, "language", "enabled") is not False
    expanded: dict[str, list[dict[str, Any]]] = {}
    for name, entries in groups.items():
        valid = _valid(tree, ("rules", name), RuleEntry, entries)
        rules = checks.expand_group(tree, ("rules", name), valid, language)
        expanded[name] = [rule.to_json() for rule in rules]
    checks.check_sources(tree, sources, groups)
    clean = _valid(tree, ("clean",), CleanStep, _as_steps(data.get("clean")))
    checks.check_clean(tree, ("clean",), clean)
    survivor = _get(data, "dedup", "survivor")
    terms = [survivor] if isinstance(survivor, str) else survivor
    if isinstance(terms, list) and all(isinstance(term, str) for term in terms):
        checks.check_survivor(tree, terms)
    _check_tokenizer(tree, folder)
    _check_previous(tree, folder)
    check_reward(tree, folder)
    _check_image_reward(tree, folder)
    check_tiers(tree)
    if tree.problems:
        return data
    return _inherit(data, expanded)


def _inherit(data: dict[str, Any], rules: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    seed = data.get("seed", 0)
    clean = data.get("clean", [])
    sources = []
    for source in data["sources"]:
        source = {**source}
        if source.get("clean") is None:
            source["clean"] = clean
        source["seed"] = source.get("seed", seed)
        if source.get("sample") is not None:
            source["sample"] = {"seed": seed, **source["sample"]}
        sources.append(source)
    tokenizer = {**data["tokenizer"]}
    if tokenizer.get("train") is not None:
        tokenizer["train"] = {"seed": seed, **tokenizer["train"]}
    return {
        **data,
        "sources": sources,
        "rules": rules,
        "split": {"seed": seed, **data.get("split", {})},
        "pack": {"seed": seed, **data.get("pack", {})},
        "tokenizer": tokenizer,
    }


def _check_tokenizer(tree: Tree, folder: Path) -> None:
    tokenizer = tree.data.get("tokenizer")
    if not isinstance(tokenizer, dict):
        return
    use, train = tokenizer.get("use"), tokenizer.get("train")
    if (use is None) == (train is None):
        found = "both use and train" if use is not None else "neither use nor train"
        tree.problem(("tokenizer",), found, "exactly one of them")
    elif isinstance(use, str) and "://" not in use:
        _check_exists(tree, ("tokenizer", "use"), folder / use, "a tokenizer's folder or file")


def _check_previous(tree: Tree, folder: Path) -> None:
    previous = _get(tree.data, "split", "previous")
    if isinstance(previous, str) and "://" not in previous:
        _check_exists(tree, ("split", "previous"), folder / previous, "the folder of a run")


def _check_image_reward(tree: Tree, folder: Path) -> None:
    scores = _get(tree.data, "image_reward", "scores")
    if not isinstance(scores, str):
        return
    at: KeyPath = ("image_reward", "scores")
    if "://" in scores:
        tree.problem(at, repr(scores), "a local file of scores")
        return
    known = len(tree.problems)
    _check_exists(tree, at, folder / scores, "a file of `python -m trainer image-reward`")
    if len(tree.problems) == known:
        try:
            read_scores(folder / scores)
        except ScoresError as error:
            found, _, expected = str(error).partition(", expected ")
            tree.problem(at, f"{scores}: {found.removeprefix('found ')}", expected)


def _check_exists(tree: Tree, at: KeyPath, path: Path, expected: str) -> None:
    if path.exists():
        return
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    near = str(path.parent / close) if close is not None else None
    tree.problem(at, f"{str(path)!r}, which is not there", expected, near)


def _sources(tree: Tree) -> dict[int, Source]:
    data = tree.data.get("sources") if isinstance(tree.data, dict) else None
    return _valid(tree, ("sources",), Source, data)


def _valid(tree: Tree, path: KeyPath, model: type[_M], items: Any) -> dict[int, _M]:
    """Those of ``items`` that are valid by themselves, by their position."""
    valid = {}
    for i, item in enumerate(items if isinstance(items, list) else []):
        try:
            valid[i] = model.model_validate(item)
        except ValidationError:
            # Reported with the whole recipe; a check of names would only repeat it.
            assert tree.problems, (path, i)
    return valid


def _as_steps(steps: Any) -> Any:
    if not isinstance(steps, list):
        return steps
    return [{"use": step} if isinstance(step, str) else step for step in steps]


def _get(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _under(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith((prefix + ".", prefix + "["))


__all__ = ["Plans", "Problem", "RecipeError", "load_recipe", "locked_packages", "plan_recipe"]
