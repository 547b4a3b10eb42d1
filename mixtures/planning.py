"""A mixture over a corpus in a stage: what the plan is asked for, and the table that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from dataflow.run import Run
from mixtures.categories import Categories, categories_of, why_unknown
from mixtures.crossing import crossed
from mixtures.downsampling import kept, parts_for
from mixtures.errors import PlanRefused
from mixtures.inventory import Inventory, take_inventory
from mixtures.plan_table import as_yaml, table
from mixtures.quotas import Quotas
from mixtures.recipe.loading import load_mixture
from mixtures.recipe.models import MixtureRecipe
from mixtures.refusal import check_supply
from mixtures.resolving import Resolved, Row, Supply, resolve, supply_of
from mixtures.spec import Component, PlanSpec
from mixtures.stage_frame import stage_spec


@dataclass(frozen=True)
class Planned:
    """What `planned` found.

    Attributes
    ----------
    spec : what to compile; None where the mixture cannot be met
    rows : of the table
    resolved : the mixture's solution before down-sampling
    notes : lines behind the table
    categories : what becomes of the categories of texts; None where they are not known, of which a
        note says why
    """

    recipe: MixtureRecipe
    rows: tuple[Row, ...]
    resolved: Resolved
    spec: PlanSpec | None
    notes: tuple[str, ...]
    categories: Categories | None = None

    def told(self) -> str:
        """The table and what there is to say about it."""
        lines = [*table(self.rows, self.resolved.budget), *self.notes]
        if self.categories is not None:
            lines += ["", *self.categories.told()]
        if self.spec is None and self.resolved.nearest is not None:
            lines += ["Nearest mixture that can be met:", as_yaml(self.recipe, self.resolved)]
        return "\n".join(lines)


def planned(recipe: MixtureRecipe, run: Run, stage: PlanSpec) -> Planned:
    """Solve a mixture for a stage.

    Parameters
    ----------
    stage : the plan that the stage has without a mixture: its components are length classes, or
        all documents, and maybe long questions

    Raises
    ------
    PlanRefused
        If the mixture is none for this corpus, whatever the amounts: it names sources that are not
        there, matches no document, or goes with the stage in no way.
    """
    _check_sources(recipe, run, stage)
    probe = crossed(stage, recipe.drawn())
    inventory = take_inventory(run, stage.l1, probe)
    unit = stage.length if stage.packing == "stream" else 1
    budget = stage.sequences * stage.length
    solved = resolve(recipe, _supplies(recipe, probe, inventory), budget, unit)
    _check_matches(run.store.uri, recipe, solved, probe, inventory)
    weights = dict(zip(recipe.components, solved.weights, strict=True))
    drawn = [
        part.component(name, weight)
        for (name, part), weight in zip(recipe.components.items(), weights.values(), strict=True)
    ]
    if not any(weights.values()):
        raise PlanRefused(f"{run.store.uri}: found no tokens of any component of the mixture")
    spec = crossed(stage, drawn)
    has_classes = [c.name for c in spec.components] != list(recipe.components)
    asked = _asked(spec) if has_classes else [row.realised for row in solved.rows]
    notes: list[str] = []
    feasible = solved.feasible
    rows: Sequence[Row] = solved.rows
    if has_classes:
        rows = _class_rows(spec, asked, inventory, solved)
        feasible = all(row.wanted <= row.limit for row in rows)
        solved = replace(solved, feasible=feasible, nearest=None)
        if not feasible:
            notes += _refused(run, spec, asked, inventory)
    elif not feasible:
        notes.append(_why_not(solved, recipe))
    if not feasible:
        return Planned(recipe, tuple(rows), solved, None, tuple(notes))
    if recipe.final_tokens is not None:
        spec, rows = _down_sampled(run, spec, rows, budget, recipe.final_tokens)
        notes.append(
            f"Down-sampled so that documents are read as often as in a run of "
            f"{recipe.final_tokens:,} tokens."
        )
    if (unknown := why_unknown(run)) is not None:
        notes.append(unknown)
    categories = categories_of(run, spec.components, {row.name: row.realised for row in rows})
    return Planned(recipe, tuple(rows), solved, spec, tuple(notes), categories)


def planned_to_the_most(recipe: MixtureRecipe, run: Run, stage: PlanSpec) -> Planned:
    """Solve a mixture for the largest budget that it can be met with as it is; with
    ``final_tokens`` for no larger one than that.

    Parameters
    ----------
    stage : as for `planned`, without length classes; of its budget nothing is kept

    Raises
    ------
    PlanRefused
        As `planned`.
    """
    one = stage.model_copy(update={"tokens": stage.length})
    probe = planned(recipe.model_copy(update={"final_tokens": None}), run, one)
    most = min(probe.resolved.largest, recipe.final_tokens or probe.resolved.largest)
    if most < stage.length:
        return probe
    found = planned(recipe, run, stage.model_copy(update={"tokens": most}))
    note = "No budget was said: this is the largest that the mixture can be met with as it is."
    return replace(found, notes=(note, *found.notes))


def asked_for(
    run: Run,
    stage: PlanSpec | str,
    mixture: MixtureRecipe | Path | str | None = None,
    seed: int | None = None,
) -> PlanSpec:
    """What `mixtures.plan.Plan.compile` compiles; its parameters say what these are.

    Raises
    ------
    PlanRefused
        If the corpus cannot give the mixture, with the table and the nearest one.
    RecipeError
        If the mixture's file is wrong.
    """
    where = run.store.uri
    if isinstance(stage, str):
        spec = stage_spec([stage, "--corpus", where], mixed=mixture is not None)
    else:
        spec = stage
    if seed is not None:
        spec = PlanSpec.model_validate({**spec.model_dump(), "seed": seed})
    if mixture is None:
        return spec
    recipe = mixture if isinstance(mixture, MixtureRecipe) else load_mixture(mixture)
    found = planned(recipe, run, spec)
    if found.spec is None:
        raise PlanRefused(f"{where}: the mixture cannot be met\n{found.told()}")
    return found.spec


def _why_not(solved: Resolved, recipe: MixtureRecipe) -> str:
    told = "The mixture cannot be met. As it is, it can be met up to a budget of "
    told += f"{solved.largest:,} tokens"
    if recipe.on_shortage == "refuse" and solved.nearest is not None:
        told += "; with on_shortage: spread the others take what is missing"
    return told + "."


def _check_sources(recipe: MixtureRecipe, run: Run, stage: PlanSpec) -> None:
    known = take_inventory(run, stage.l1).sources
    for name, part in recipe.components.items():
        unknown = sorted(set(part.sources or ()) - set(known))
        if unknown:
            raise PlanRefused(
                f"{run.store.uri}: component {name!r} draws from {unknown}, expected sources with "
                f"train documents: {', '.join(known)}"
            )


def _of(spec: PlanSpec, name: str) -> list[Component]:
    """The components of a crossed plan that are one of the mixture."""
    return [c for c in spec.components if c.name == name or c.name.startswith(f"{name}/")]


def _supplies(recipe: MixtureRecipe, probe: PlanSpec, inventory: Inventory) -> dict[str, Supply]:
    found = {}
    for name in recipe.components:
        parts = [supply_of(component, probe.l1, inventory) for component in _of(probe, name)]
        found[name] = Supply(
            sum(part.documents for part in parts),
            sum(part.tokens for part in parts),
            sum(part.epoch_tokens for part in parts),
        )
    return found


def _check_matches(
    where: str, recipe: MixtureRecipe, solved: Resolved, probe: PlanSpec, inventory: Inventory
) -> None:
    """Refuse a component that matches no document, saying which of its fields does not."""
    for row in solved.rows:
        part = recipe.components[row.name]
        if row.tokens or not (part.weight or part.times):
            continue
        mine = {component.name for component in _of(probe, row.name)}
        asked = [int(component.name in mine) for component in probe.components]
        check_supply(where, probe, asked, inventory)


def _asked(spec: PlanSpec) -> list[int]:
    quotas = Quotas(spec)
    return [quotas.at(i, quotas.end) // quotas.unit for i in range(len(spec.components))]


def _class_rows(
    spec: PlanSpec, asked: Sequence[int], inventory: Inventory, solved: Resolved
) -> list[Row]:
    rows = []
    for component, wanted in zip(spec.components, asked, strict=True):
        has = supply_of(component, spec.l1, inventory)
        limit = has.epoch_tokens * component.passes
        why = [] if wanted <= limit else [f"capped: {limit:,} tokens"]
        if wanted and not has.tokens:
            why = ["matches nothing"]
        share = Fraction(wanted, solved.budget)
        rows.append(
            Row(
                component.name, has.documents, has.tokens, share, wanted, wanted, limit,
                component.passes, has.epoch_tokens, tuple(why),
            )
        )  # fmt: skip
    return rows


def _refused(
    run: Run, spec: PlanSpec, asked: Sequence[int], inventory: Inventory
) -> tuple[str, ...]:
    try:
        check_supply(run.store.uri, spec, asked, inventory)
    except PlanRefused as refused:
        return tuple(line for line in str(refused).splitlines() if not line.startswith("  "))
    return ()


def _down_sampled(
    run: Run, spec: PlanSpec, rows: Sequence[Row], budget: int, final: int
) -> tuple[PlanSpec, list[Row]]:
    """The plan over parts of its components, and its rows with what is kept."""
    try:
        asked = {
            row.name: kept(row.realised, row.epoch_tokens, budget, final, row.passes)
            for row in rows
        }
    except ValueError as error:
        raise PlanRefused(f"final_tokens: {error}") from None
    parts = parts_for(run, spec, asked)
    components = tuple(
        component.model_copy(update={"part": parts.get(component.name, component.part)})
        for component in spec.components
    )
    sampled = PlanSpec.model_validate({**spec.model_dump(), "components": components})
    inventory = take_inventory(run, spec.l1, sampled)
    found = []
    for row, component in zip(rows, sampled.components, strict=True):
        has = supply_of(component, spec.l1, inventory)
        found.append(
            replace(
                row,
                documents=has.documents,
                tokens=has.tokens,
                epoch_tokens=has.epoch_tokens,
                limit=has.epoch_tokens * row.passes,
                repetition=asked[row.name].repetition,
                kept=Fraction(has.epoch_tokens, row.epoch_tokens) if row.epoch_tokens else None,
            )
        )
    return sampled, found
