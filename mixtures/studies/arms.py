"""The arms of a study as they are run: each with all that decides its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataflow.recipe.problems import RecipeError
from dataflow.recipe.yaml_tree import dump, parse
from mixtures.recipe import load_mixture, mixture_of
from mixtures.studies.changes import changed
from mixtures.studies.corpora import Corpora, Corpus
from mixtures.studies.keys import recipe_content, run_key
from mixtures.studies.loading import LoadedStudy
from mixtures.studies.recipe import ArmOf, StudyRecipe
from mixtures.studies.slicing import slice_of

_OVERRIDES = ("model", "stage", "batch", "rate", "scale", "precision")


@dataclass(frozen=True)
class Arm:
    """An arm: ``mixture`` is a mixture file's content without its name, ``folder`` where the files
    of its runs' mixtures are; ``slices`` is the salt by which each seed has documents of its own
    (None: all have the same); ``same_as`` names an arm before it whose runs are these."""

    name: str
    asked: ArmOf
    seeds: tuple[int, ...]
    corpus: Corpus
    mixture: dict[str, Any]
    folder: Path
    slices: str | None
    model: str
    stage: str
    tokens: int
    batch: int | None
    rate: float | None
    scale: str | None
    precision: str | None
    repetition: dict[str, Any] | None = None
    same_as: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def mixture_of(self, seed: int) -> dict[str, Any]:
        """The mixture of a seed's run."""
        if self.slices is None:
            return self.mixture
        return slice_of(self.mixture, self.seeds.index(seed), len(self.seeds), self.slices)

    def mixture_name(self, seed: int) -> str:
        """What it is called; runs of one mixture share a file."""
        return self.name if self.slices is None else f"{self.name}-seed{seed}"

    def identity(self, seed: int, precision: str) -> dict[str, Any]:
        """All that decides a run of it, as plain values; ``precision`` where neither it nor the
        study says one. Threads and machines are not in it: they change last bits alone."""
        # The root of a corpus does not name what is of which tier.
        by_tiers = any("tiers" in part for part in self.mixture["components"].values())
        return {
            **({"tiers": self.corpus.tiers} if by_tiers and self.corpus.tiers else {}),
            "corpus": self.corpus.root,
            "tokenizer": self.corpus.tokenizer,
            "mixture": {k: v for k, v in self.mixture_of(seed).items() if k != "description"},
            "model": recipe_content(self.model, "models", "model"),
            "stage": recipe_content(self.stage, "stages", "stage"),
            "tokens": self.tokens,
            "batch": self.batch,
            "rate": self.rate,
            "scale": self.scale,
            "seed": seed,
            "precision": self.precision or precision,
        }

    def train(self, seed: int, precision: str, save_every: int) -> tuple[str, ...]:
        """The trainer's arguments, without its folder."""
        given = {
            "stage": self.stage, "model": self.model, "corpus": self.corpus.uri,
            "mixture": self.folder / f"{self.mixture_name(seed)}.yaml", "tokens": self.tokens,
            "batch": self.batch, "rate": self.rate, "scale": self.scale, "seed": seed,
            "precision": self.precision or precision, "save-every": save_every, "keep": 1,
        }  # fmt: skip
        found = ["run"]
        for name, value in given.items():
            if value is not None:
                found += [f"--{name}", str(value)]
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """For ``study.json``."""
        return {
            "role": self.asked.role,
            **({} if self.asked.dose is None else {"dose": self.asked.dose}),
            **({} if self.asked.expect is None else {"expect": self.asked.expect}),
            "seeds": list(self.seeds),
            "mixture": self.mixture,
            "corpus": self.corpus.uri,
            "tokenizer": self.corpus.tokenizer,
            "model": self.model,
            "stage": self.stage,
            "tokens": self.tokens,
            "overrides": dict(self.overrides),
            **({} if self.repetition is None else {"repetition": self.repetition}),
            "same_as": self.same_as,
        }


def resolve_arms(loaded: LoadedStudy, corpora: Corpora, folder: Path) -> list[Arm]:
    """The arms of a study that compares; their mixtures' files are not written yet.

    Parameters
    ----------
    folder : of the mixtures' files

    Raises
    ------
    RecipeError
        If a mixture's file cannot be read, or tokenizers differ where loss per token is asked for.
    """
    study = loaded.recipe
    arms = [
        arm_of(study, name, asked, corpora, folder, _mixture(loaded, name, asked))
        for name, asked in study.arms.items()
    ]
    _check_tokenizers(loaded, arms)
    return without_copies(arms)


def arm_of(
    study: StudyRecipe,
    name: str,
    asked: ArmOf,
    corpora: Corpora,
    folder: Path,
    mixture: dict[str, Any],
    repetition: dict[str, Any] | None = None,
) -> Arm:
    """An arm with what it leaves to the study."""
    overrides = {key: getattr(asked, key) for key in _OVERRIDES if getattr(asked, key) is not None}
    usual: dict[str, Any] = {key: getattr(study, key) for key in _OVERRIDES}
    shown_overrides = dict(overrides)
    if asked.corpus is not None:
        shown_overrides["corpus"] = asked.corpus.model_dump(exclude_none=True)
    differs = asked.changes.model_dump(exclude_defaults=True)
    if differs:
        shown_overrides["changes"] = differs
    of_arm = {**usual, **overrides}
    for word, kind in (("model", "models"), ("stage", "stages")):
        own = folder.parent / "recipes" / name / kind
        of_arm[word] = changed(of_arm[word], kind, word, differs.get(word, {}), own)
    return Arm(
        name=name,
        asked=asked,
        seeds=study.seeds if asked.seeds is None else asked.seeds,
        corpus=corpora.of(study.corpus if asked.corpus is None else asked.corpus),
        mixture=mixture,
        folder=folder,
        slices=study.name if study.documents == "by_seed" else None,
        tokens=study.tokens,
        **of_arm,
        repetition=repetition,
        overrides=shown_overrides,
    )


def without_copies(arms: list[Arm]) -> list[Arm]:
    """The arms, each that has another's runs naming it: they are computed once."""
    known: dict[str, str] = {}
    found = []
    for arm in arms:
        key = run_key([[seed, arm.identity(seed, "")] for seed in sorted(arm.seeds)])
        found.append(replace(arm, same_as=known.get(key)))
        known.setdefault(key, arm.name)
    return found


def write_mixtures(arms: list[Arm]) -> None:
    """The mixtures' files, called as the trainer asks: a file's name is its mixture's."""
    for arm in arms:
        arm.folder.mkdir(parents=True, exist_ok=True)
        for seed in arm.seeds:
            name = arm.mixture_name(seed)
            path = arm.folder / f"{name}.yaml"
            path.write_text(dump({"name": name, **arm.mixture_of(seed)}), "utf-8")


def _mixture(loaded: LoadedStudy, name: str, asked: ArmOf) -> dict[str, Any]:
    """A mixture's content without its name, whether it stands here or in a file; checked."""
    if isinstance(asked.mixture, dict):
        mixture_of(asked.mixture, f"{loaded.path}: arms.{name}.mixture")
        return _unnamed(asked.mixture)
    path = Path(str(asked.mixture))
    path = path if path.is_file() else loaded.path.parent / path
    if not path.is_file():
        at = ("arms", name, "mixture")
        found = f"no file {asked.mixture}"
        loaded.tree.problem(at, found, "a mixture's YAML file, or its content")
        raise RecipeError(loaded.tree.problems)
    load_mixture(path)
    return _unnamed(parse(str(path), path.read_bytes()).data)


def _unnamed(mixture: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mixture.items() if key != "name"}


def _check_tokenizers(loaded: LoadedStudy, arms: list[Arm]) -> None:
    hashes = {arm.corpus.tokenizer for arm in arms}
    if len(hashes) > 1 and loaded.recipe.metrics.loss_per_token:
        told = ", ".join(f"{arm.name}: {arm.corpus.tokenizer[:12]}" for arm in arms)
        loaded.tree.problem(
            ("metrics", "loss_per_token"), f"it with arms of {len(hashes)} tokenizers ({told})",
            "no loss per token: a token is not the same amount of text in them; bits_per_byte "
            "compares",
        )  # fmt: skip
        raise RecipeError(loaded.tree.problems)
