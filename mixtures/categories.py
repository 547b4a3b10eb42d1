"""What a mixture makes of the categories of texts: their shares of its tokens and of the corpus'.

They come from a small table of the run, by source, language and tier: no document is looked at. So
a component that is chosen by more than these is taken to have the categories of what they leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from dataflow.recipe.models import Reward
from dataflow.run import Run
from mixtures.documents import TRAIN
from mixtures.spec import Component
from quality.tiers import UNSCORED
from quality.vanishing import Vanishing, vanishing


@dataclass(frozen=True)
class Categories:
    """Shares of tokens by category, largest in the corpus first.

    Attributes
    ----------
    corpus : of all train documents
    mixture : of what is drawn
    rough : components that are chosen by more than source, language and tier
    lost : categories that the choice of tiers nearly takes away
    """

    corpus: dict[str, float]
    mixture: dict[str, float]
    rough: tuple[str, ...]
    lost: tuple[Vanishing, ...]

    def told(self) -> list[str]:
        """Lines for people: a head, a line a category, and what is to be known."""
        width = max(map(len, self.corpus))
        lines = [f"{'category'.ljust(width)}   corpus  mixture"]
        lines += [
            f"{name.ljust(width)}  {100 * share:5.1f} %  {100 * self.mixture[name]:5.1f} %"
            for name, share in self.corpus.items()
        ]
        if self.rough:
            lines.append(f"Of {', '.join(self.rough)} as far as sources, languages and tiers tell.")
        lines += [
            f"WARNING: nearly gone with the tiers left out: {v.describe()}" for v in self.lost
        ]
        return lines

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "corpus": self.corpus,
            "mixture": self.mixture,
            "rough": list(self.rough),
            "lost": [one.category for one in self.lost],
        }


def categories_of(
    run: Run, components: Sequence[Component], drawn: Mapping[str, int]
) -> Categories | None:
    """The categories of a mixture over a run; None where they are not known (``why_unknown``), or
    nothing is drawn.

    Parameters
    ----------
    drawn : tokens of each component, by its name
    """
    if run.grade is None or why_unknown(run) is not None:
        return None
    table = run.table(run.grade, "shares")
    rows = [row for row in table.to_pylist() if row["split"] == TRAIN]
    corpus: Counter[str] = Counter()
    for row in rows:
        corpus[row["category"] or UNSCORED] += row["tokens"]
    mixture: Counter[str] = Counter()
    rough = []
    for component in components:
        tokens = drawn.get(component.name, 0)
        found = _tokens(rows, component)
        whole = sum(found.values())
        if not tokens or not whole:
            continue
        mixture.update({name: tokens * part // whole for name, part in found.items()})
        if _chosen_otherwise(component):
            rough.append(component.name)
    if not corpus or not mixture:
        return None
    lock = yaml.safe_load(run.store.read("recipe.lock.yaml"))
    guard = Reward.model_validate(lock["reward"]).guard
    lost: list[Vanishing] = []
    if any(component.tiers for component in components):
        before = {name: tokens for name, tokens in corpus.items() if name != UNSCORED}
        after = {name: mixture[name] for name in before}
        lost = vanishing(before, after, loss=guard.loss, share=guard.share, of_shares=True)
    order = [name for name, _ in sorted(corpus.items(), key=lambda item: (-item[1], item[0]))]
    return Categories(
        {name: corpus[name] / sum(corpus.values()) for name in order},
        {name: mixture[name] / sum(mixture.values()) for name in order},
        tuple(rough),
        tuple(lost),
    )


def why_unknown(run: Run) -> str | None:
    """Why nobody can tell the categories of a run's tokens; None where one can."""
    scored = any(partition.reward is not None for partition in run.partitions)
    there = {"reward": scored, "tiers": run.grade is not None}
    missing = [key for key, is_there in there.items() if not is_there]
    if not missing:
        return None
    return (
        f"Shares of categories: unknown, for the recipe of the corpus has no "
        f"{' and no '.join(f'`{key}:`' for key in missing)}; a build with both "
        "(`reward: {student: default}`, `tiers: {}`) counts them and writes no shard again."
    )


def _tokens(rows: Sequence[Mapping[str, Any]], component: Component) -> Counter[str]:
    """Tokens by category of what sources, languages and tiers give a component."""
    found: Counter[str] = Counter()
    for row in rows:
        if (
            component.draws_from(row["source"])
            and row["language"] in (component.languages or (row["language"],))
            and row["tier"] in (component.tiers or (row["tier"],))
        ):
            found[row["category"] or UNSCORED] += row["tokens"]
    return found


def _chosen_otherwise(component: Component) -> bool:
    return component.length is not None or any(
        (component.domains, component.by_signals, component.part, component.repeat)
    )
