"""Checks of a recipe's `reward` and `tiers`: their files, signals, weights and quantiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dataflow.recipe.checks import asked_for
from dataflow.recipe.problems import nearest, one_of, shown
from dataflow.recipe.yaml_tree import Path as KeyPath
from dataflow.recipe.yaml_tree import Tree
from dataflow.signals import SIGNALS
from quality.tiers import UNSCORED

DEFAULT = "default"
"""What a recipe calls the student that is shipped."""

GRADED = tuple(name for name, signal in SIGNALS.items() if signal.unit == "points")
"""Signals that tiers may be made by: whole numbers of 64ths of a point."""


def check_reward(tree: Tree, folder: Path) -> None:
    """Exactly one scorer is named, and its file is there and whole."""
    reward = tree.data.get("reward")
    if not isinstance(reward, dict):
        return
    student, scores = reward.get("student"), reward.get("scores")
    if (student is None) == (scores is None):
        found = "both student and scores" if student is not None else "neither student nor scores"
        tree.problem(("reward",), found, "exactly one of them; `student: default` needs no file")
        return
    key, name = ("student", student) if scores is None else ("scores", scores)
    if not isinstance(name, str) or name == DEFAULT == student:
        return
    at: KeyPath = ("reward", key)
    if "://" in name:
        tree.problem(at, repr(name), "a local file")
        return
    path = folder / name
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        names = [*beside, *([DEFAULT] if key == "student" else [])]
        command = "distill … --out FILE" if key == "student" else "score … --out FILE"
        expected = f"a file of `python -m quality {command}`"
        if key == "student":
            expected += f", or {DEFAULT}"
        tree.problem(at, f"{str(path)!r}, which is not there", expected, nearest(path.name, names))
        return
    # What reads them compiles kernels: a recipe without them need not wait for that.
    from quality.reward.scores_file import ScoresError, read_scores
    from quality.reward.student import StudentError
    from quality.reward.students import open_student

    try:
        if key == "scores":
            read_scores(path)
            return
        kind, _ = open_student(path)
        if kind != "linear":
            found = f"{name}: a {kind} student"
            expected = "a linear one; of another kind take `scores`, the file that `python -m "
            expected += f"quality score RUN --student {name} --out FILE` writes"
            tree.problem(at, found, expected)
    except (StudentError, ScoresError) as error:
        tree.problem(at, *_parts(str(error), path, name))


def _parts(message: str, path: Path, name: str) -> tuple[str, str]:
    """What was found in a file, and what was expected, out of an error's message."""
    told = message.removeprefix(f"{path}: ").removeprefix("found ")
    found, *expected = re.split(r",?\s+expected\s+", told, maxsplit=1)
    if not expected:
        found, _, advice = told.partition("; ")
        expected = [advice or "a file that is whole"]
    return f"{name}: {_line(found)}", _line(expected[0])


def _line(text: str) -> str:
    """Text that may have several lines, such as a schema, as one."""
    return ", ".join(line.strip() for line in text.splitlines())


def check_tiers(tree: Tree) -> None:
    """Signals are of points and measured in this recipe; the quantiles end at 1."""
    tiers = tree.data.get("tiers")
    if not isinstance(tiers, dict):
        return
    by = tiers.get("by")
    if by is None:
        for name in ("reward.depth", "reward.helpfulness"):
            if not asked_for(tree, ("tiers",), name, of_key=False):
                break
    elif isinstance(by, dict):
        _check_way(tree, ("tiers", "by"), by)
    elif isinstance(by, list):
        for number, way in enumerate(by):
            if isinstance(way, dict):
                _check_way(tree, ("tiers", "by", number), way)
    _check_quantiles(tree, tiers.get("quantiles"))


def _check_way(tree: Tree, at: KeyPath, way: dict[Any, Any]) -> None:
    if not way:
        tree.problem(at, "no signal", "signals with weights, such as {reward.depth: 1}")
    for name in way:
        path = (*at, name)
        if name not in GRADED:
            what = "the signal" if name in SIGNALS else "unknown signal"
            found = f"{what} {name!r}"
            near = nearest(str(name), GRADED)
            tree.problem(path, found, one_of(list(GRADED)), near, of_key=True)
        else:
            asked_for(tree, path, name, of_key=True)


def _check_quantiles(tree: Tree, quantiles: Any) -> None:
    if not isinstance(quantiles, dict):
        return
    at: KeyPath = ("tiers", "quantiles")
    if UNSCORED in quantiles:
        expected = "another name: it is that of documents without a score"
        tree.problem((*at, UNSCORED), UNSCORED, expected, of_key=True)
    shares = list(quantiles.values())
    if not shares or not all(type(share) in (int, float) for share in shares):
        return
    by_share: dict[float, str] = {}
    for name, share in quantiles.items():
        if share in by_share:
            found = f"{shown(share)}, as {by_share[share]} has"
            tree.problem((*at, name), found, "a share of its own")
        by_share.setdefault(share, name)
    if max(shares) != 1:
        tree.problem(at, f"{shown(max(shares))} as the highest", "a tier that goes up to 1")
