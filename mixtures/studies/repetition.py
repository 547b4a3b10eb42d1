"""The arms of a study of repetition: each tier at each number of epochs, under one budget.

A tier at E epochs reads the first ``budget / E`` tokens of its documents in the order of their
hashes, E times: fewer documents are a part of more, so that epochs alone differ. What MiniMax-01
compares on equal repetition (arXiv:2501.08313, section 4.1.3), and the design of
arXiv:2305.16264, section 4.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow.recipe.problems import RecipeError
from dataflow.run import Run
from dataflow.store import Store
from mixtures.documents import walk
from mixtures.members import open_members, part_hashes
from mixtures.selection import Part
from mixtures.spec import Component, PlanSpec
from mixtures.studies.arms import Arm, arm_of, without_copies
from mixtures.studies.corpora import Corpora
from mixtures.studies.loading import LoadedStudy
from mixtures.studies.recipe import ArmOf

GRAIN = 1 << 16
"""Parts end at multiples of 1 / GRAIN of the hashes."""

MARGIN = Fraction(1, 200)
"""More tokens than the budget needs, so that no document is read once more than its epochs."""


def repetition_arms(loaded: LoadedStudy, corpora: Corpora, folder: Path) -> list[Arm]:
    """An arm ``TIER-xEPOCHS`` of each tier and number of epochs.

    Raises
    ------
    RecipeError
        If a tier has too few tokens for the fewest epochs.
    """
    study = loaded.recipe
    assert study.repetition is not None, "the loader checked it"
    corpus = corpora.of(study.corpus)
    run = Run.load(Store(corpus.uri))
    arms = []
    for tier, fields in study.repetition.tiers.items():
        tokens = np.cumsum(_tokens_by_hash(run, study.name, tier, fields))
        for epochs in study.repetition.epochs:
            wanted = -(-study.tokens * (1 + MARGIN) // epochs)
            if wanted > tokens[-1]:
                loaded.tree.problem(
                    ("repetition", "tiers", tier),
                    f"{int(tokens[-1]):,} tokens of it in {corpus.uri}",
                    f"{int(wanted):,} for {study.tokens:,} tokens at {epochs} epochs; lower tokens "
                    "or leave these epochs out",
                )
                raise RecipeError(loaded.tree.problems)
            stop = Fraction(int(np.searchsorted(tokens, int(wanted))) + 1, GRAIN)
            part = {"salt": study.name, "start": 0, "stop": str(stop)}
            component = {**fields, "weight": "100%", "epochs": epochs, "part": part}
            told = {
                "tier": tier, "epochs": epochs, "unique_tokens": int(tokens[int(stop * GRAIN) - 1])
            }  # fmt: skip
            arms.append(
                arm_of(
                    study, f"{tier}-x{epochs}", ArmOf(), corpora, folder,
                    {"components": {tier: component}}, told,
                )
            )  # fmt: skip
    return without_copies(arms)


def _tokens_by_hash(
    run: Run, salt: str, tier: str, fields: dict[str, Any]
) -> npt.NDArray[np.int64]:
    """Train tokens of a component by the stretch of hashes, of GRAIN, that a document is in."""
    component = Component(
        name=tier, weight=1, part=Part(salt=salt), **{k: _tuple(v) for k, v in fields.items()}
    )
    spec = PlanSpec(length=1, tokens=1, components=(component,), seed=0)
    found = np.zeros(GRAIN, np.int64)
    with open_members(run, spec) as members:
        for shard in walk(run, members.columns):
            mine = members.components(shard) == 0
            stretch = (part_hashes(shard, salt) // np.uint64((1 << 64) // GRAIN)).astype(np.int64)
            found += np.bincount(stretch[mine], shard.tokens[mine], GRAIN).astype(np.int64)
    return found


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
