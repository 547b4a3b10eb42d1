"""What makes two runs the same one: a key of all that decides a run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

from dataflow.recipe.problems import Problem, RecipeError, nearest, one_of
from dataflow.recipe.yaml_tree import parse
from dataflow.run import Run
from dataflow.store import Store

FORMAT = 1
"""Of a run's result; raised when the trainer's results change, so that runs are made again."""

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def run_key(identity: Any) -> str:
    """The key of plain values: 24 hexadecimal digits of the SHA-256 of their canonical JSON."""
    data = orjson.dumps([FORMAT, identity], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(data).hexdigest()[:24]


def file_key(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def recipe_content(name: str, kind: str, word: str) -> Any:
    """The values of a model's or stage's YAML file, by its name in ``recipes/KIND`` or its path:
    comments do not decide a run.

    Raises
    ------
    RecipeError
        If there is none, with the nearest name; or it is no YAML.
    """
    known = sorted(path.stem for path in (RECIPES / kind).glob("*.yaml"))
    path = RECIPES / kind / f"{name}.yaml" if name in known else Path(name)
    if not path.is_file():
        expected = f"{one_of(known)}, or the path of a YAML file"
        found = f"no {word} {name!r}"
        raise RecipeError([Problem(word, 0, 0, "", found, expected, nearest(name, known))])
    tree = parse(str(path), path.read_bytes())
    if tree.problems:
        raise RecipeError(tree.problems)
    return tree.data


def corpus_identity(uri: str) -> dict[str, str]:
    """A run's logical root, the hash of its tokenizer, and the root of its tiers where it has any.

    Raises
    ------
    RunError
        If it is no finished run.
    """
    run = Run.load(Store(uri))
    found = {"root": run.header["logical_root"], "tokenizer": run.tokenizer.stats["hash"]}
    return found if run.grade is None else {**found, "tiers": run.header["tiers_root"]}
