"""Repetition-aware down-sampling: a short run that repeats its documents as a long one will.

MiniMax-01 (arXiv:2501.08313, section 4.1.3) down-samples documents until the repetition of a small
run equals that of the final schedule, and prints no formula. With F tokens in the final run, of
which a component of U unique tokens has the share w, it is read r = w F / U times there, at most as
its cap allows; a run of B tokens keeps documents of U' = w B / r tokens and reads them as often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dataflow.run import Run
from mixtures.documents import walk
from mixtures.members import open_members, part_hashes
from mixtures.selection import Part
from mixtures.spec import PlanSpec

SALT = "final-tokens"
"""Of the parts of components that have none of their own."""

_HASHES = 1 << 64


@dataclass(frozen=True)
class Kept:
    """``repetition`` r, and the tokens U' that are kept for it, of ``tokens`` U (of an epoch)."""

    repetition: Fraction
    tokens: int
    target: Fraction

    @property
    def share(self) -> Fraction:
        """The share that is kept."""
        return self.target / self.tokens if self.tokens else Fraction(1)


def kept(wanted: int, tokens: int, budget: int, final: int, passes: int) -> Kept:
    """The rule, for one component.

    Parameters
    ----------
    wanted : w B, whole tokens that the run draws of it
    tokens : U, of an epoch
    budget, final : B and F
    passes : the most that r may be

    Raises
    ------
    ValueError
        If the final run is the shorter one.
    """
    if final < budget:
        raise ValueError(
            f"found a final run of {final:,} tokens and a budget of {budget:,}, expected no less"
        )
    if not tokens or not wanted:
        return Kept(Fraction(0), tokens, Fraction(tokens))
    repetition = min(Fraction(wanted * final, budget * tokens), Fraction(passes))
    # Above U only where even the cap cannot give the budget: then all is kept, and lacks.
    return Kept(repetition, tokens, min(wanted / repetition, Fraction(tokens)))


def parts_for(run: Run, spec: PlanSpec, wanted: Mapping[str, Kept]) -> dict[str, Part]:
    """The part of each component whose documents have the tokens that are to be kept.

    It is the smallest that has at least so many: more than that by less than a document, or than a
    cluster of near duplicates, which is never divided. Memory: 16 bytes for each document of the
    components, beside what `open_members` takes.

    Parameters
    ----------
    spec : with the components
    wanted : by their names; others keep all
    """
    found: dict[str, list[npt.NDArray[np.uint64]]] = {name: [] for name in wanted}
    sizes: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in wanted}
    numbered = [(i, c) for i, c in enumerate(spec.components) if c.name in wanted]
    with open_members(run, spec) as members:
        columns = {*members.columns, "content_id", "cluster"}
        if spec.tiling is not None:
            columns.add("images")
        for shard in walk(run, sorted(columns)):
            of = members.components(shard)
            tokens = shard.expanded(spec.tiling) * members.times_drawn(shard, of)
            for number, component in numbered:
                mine = of == number
                salt = SALT if component.part is None else component.part.salt
                found[component.name].append(part_hashes(shard, salt)[mine])
                sizes[component.name].append(tokens[mine])
    parts = {}
    for _, component in numbered:
        stop = _stop(found[component.name], sizes[component.name], wanted[component.name].target)
        whole = component.part or Part(salt=SALT)
        if stop is not None:
            parts[component.name] = whole.model_copy(update={"stop": Fraction(stop, _HASHES)})
    return parts


def _stop(
    hashes: Sequence[npt.NDArray[np.uint64]],
    sizes: Sequence[npt.NDArray[np.int64]],
    target: Fraction,
) -> int | None:
    """The least hash that is left out; None where all are kept."""
    keys = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    tokens = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    order = np.argsort(keys, kind="stable")
    least = target.__ceil__()
    reached = np.searchsorted(np.cumsum(tokens[order]), least, side="left")
    if reached >= len(keys) or keys[order[reached]] == keys[order[-1]]:
        return None
    return int(keys[order[reached]]) + 1
