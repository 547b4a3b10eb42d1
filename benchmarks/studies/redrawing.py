"""A study once more: with other seeds, over other samples of documents."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from dataflow.recipe.yaml_tree import dump, parse
from mixtures.studies.loading import LoadedStudy, load_study


def write_redrawn(study: Path, turns: int, folder: Path) -> list[Path]:
    """The files of a study's repetitions, written into ``folder``; the first is the study itself,
    so that what it has trained is not trained again.

    Raises
    ------
    RecipeError
        If the study, or a mixture's file that it names, is wrong.
    """
    loaded = load_study(study)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for turn in range(turns):
        content = redrawn(loaded, turn)
        path = folder / f"{content['name']}.yaml"
        path.write_text(dump(content), "utf-8")
        load_study(path)
        found.append(path)
    return found


def redrawn(loaded: LoadedStudy, turn: int) -> dict[str, Any]:
    """The content of a study's file for a repetition, of which 0 is the study itself.

    Seeds are shifted beyond all of the repetitions before, the same for every arm, so that pairs
    stay pairs. A ``part`` gets another salt, so that which documents are of which half is drawn
    anew: else all repetitions would share one difference between the halves.
    """
    study = loaded.recipe
    content: dict[str, Any] = deepcopy(loaded.tree.data)
    seeds = {name: arm.seeds or study.seeds for name, arm in study.arms.items()}
    shift = turn * (1 + max(seed for some in (study.seeds, *seeds.values()) for seed in some))
    content["seeds"] = [seed + shift for seed in study.seeds]
    for name, arm in content.get("arms", {}).items():
        arm["seeds"] = [seed + shift for seed in seeds[name]]
        arm["mixture"] = _mixture(loaded.path, arm["mixture"])
        for component in arm["mixture"].get("components", {}).values():
            if turn and isinstance(component.get("part"), dict):
                part = component["part"]
                component["part"] = {**part, "salt": f"{part.get('salt', '')}-{turn}"}
    if turn:
        content["name"] = f"{study.name}-{turn}"
    return content


def _mixture(study: Path, asked: dict[str, Any] | str) -> dict[str, Any]:
    """A mixture's content without its name; a file is looked for as a study does."""
    if isinstance(asked, str):
        path = Path(asked) if Path(asked).is_file() else study.parent / asked
        asked = dict(parse(str(path), path.read_bytes()).data)
    return {key: value for key, value in asked.items() if key != "name"}
