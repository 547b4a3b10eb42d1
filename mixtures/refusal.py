"""Whether a corpus can give what a plan asks for, and what comes nearest where it cannot."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from mixtures.errors import PlanRefused
from mixtures.inventory import SCALES, Inventory, told
from mixtures.solving import nearest_mixture
from mixtures.spec import Component, PlanSpec


def check_supply(where: str, spec: PlanSpec, asked: Sequence[int], inventory: Inventory) -> None:
    """Refuse a plan that asks for more than its components' epochs give.

    Parameters
    ----------
    where : the run, for the error
    asked : tokens of each component in the whole plan

    Raises
    ------
    PlanRefused
        With a table of what there is, and the nearest scale and mixture that can be met.
    """
    for component in spec.components:
        unknown = sorted(set(component.sources or ()) - set(inventory.sources))
        if unknown:
            raise PlanRefused(
                f"{where}: component {component.name!r} draws from {unknown}, expected sources "
                f"with train documents: {', '.join(inventory.sources)}"
            )
    for component, wanted in zip(spec.components, asked, strict=True):
        if wanted and not component.by_source and not inventory.of(component, spec.l1)[0]:
            raise PlanRefused(f"{where}: {_nothing(component, spec.l1, inventory)}")
    if not _lacking(spec, asked, inventory, spec.l1):
        return
    lines = [
        f"{where}: the mixture cannot be met at L1 = {spec.l1:,} tokens",
        *_table(spec, asked, inventory),
    ]
    lines += [
        f"The longest train document has {inventory.longest:,} tokens; {inventory.held_out:,} "
        "held-out documents train nothing and are not counted.",
        _nearest_scale(spec, asked, inventory),
        _nearest_mixture(spec, asked, inventory),
    ]
    raise PlanRefused("\n".join(lines))


def _nothing(component: Component, l1: int, inventory: Inventory) -> str:
    """Why no document is of a component: which of its fields matches none, and what there is."""
    begins = f"component {component.name!r} matches no train document"
    for name, asked in (
        ("tier", component.tiers),
        ("language", component.languages),
        ("domain", component.domains),
    ):
        there = inventory.values.get(name, {})
        if asked is None or any(value in there for value in asked):
            continue
        near = difflib.get_close_matches(asked[0], [value for value in there if value], 1)
        hint = f"; nearest to {asked[0]!r} is {near[0]!r}" if near else ""
        return f"{begins}: found {name}s {list(asked)}, expected some of {told(there)}{hint}"
    left_out, _ = inventory.left_out_of(component, l1)
    if left_out:
        return (
            f"{begins} that a sequence holds: {left_out:,} are longer than one and would have to "
            "be cut; ask for longer sequences"
        )
    by_columns = inventory.matching_columns(component, l1)
    if by_columns:
        asked = (*component.where, *(f"dialect {name}" for name in component.dialects))
        return (
            f"{begins}: {by_columns:,} match its columns, and none of these {', '.join(asked)}; "
            "take away or loosen a condition (a document whose signal was not measured matches "
            "none)"
        )
    anything = component.model_copy(update={"length": None})
    found, _ = inventory.of(anything, l1)
    if found:
        return (
            f"{begins} of length {component.length} at L1 = {l1:,} tokens; {found:,} of other "
            "lengths match its fields"
        )
    return (
        f"{begins}: found none with all of {_fields(component)}; take one away or widen it; "
        f"sources with train documents are {', '.join(inventory.sources)}"
    )


def _fields(component: Component) -> str:
    """What chooses a component's documents, as written."""
    given = component.model_dump(mode="json", exclude={"name", "weight", "epochs", "repeat"})
    return ", ".join(f"{key} {value}" for key, value in given.items() if value) or "none"


def _limits(spec: PlanSpec, inventory: Inventory, l1: int) -> list[int]:
    """The most tokens that each component gives."""
    return [inventory.limit_of(c, l1) for c in spec.components]


def _lacking(spec: PlanSpec, asked: Sequence[int], inventory: Inventory, l1: int) -> bool:
    limits = _limits(spec, inventory, l1)
    return any(wanted > limit for wanted, limit in zip(asked, limits, strict=True))


def _table(spec: PlanSpec, asked: Sequence[int], inventory: Inventory) -> list[str]:
    # Last, as few corpora have any.
    left_out = [inventory.left_out_of(component, spec.l1)[0] for component in spec.components]
    named = ("left out",) if any(left_out) else ()
    why = "images, " if spec.longer == "cut" else ""
    rows: list[tuple[str, ...]] = [
        ("component", "class", "documents", "tokens", "asked", "epochs", "at most", "", *named)
    ]
    for component, wanted, images in zip(spec.components, asked, left_out, strict=True):
        documents, _ = inventory.of(component, spec.l1)
        tokens = inventory.epoch_of(component, spec.l1)
        if not wanted:
            verdict = ""
        elif not tokens:
            verdict = "the corpus has none"
        else:
            verdict = "too many epochs" if wanted > tokens * component.passes else ""
        rows.append(
            (
                component.name,
                component.length or "any",
                f"{documents:,}",
                f"{tokens:,}",
                f"{wanted:,}",
                f"{wanted / tokens:.2f}" if tokens else "-",
                str(component.passes),
                verdict,
                *((f"{images:,}: {why}longer than a sequence" if images else "",) * len(named)),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i in (0, 1, 7, 8) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _nearest_scale(spec: PlanSpec, asked: Sequence[int], inventory: Inventory) -> str:
    if all(component.length is None for component in spec.components):
        return "Nearest scale: none, for no component has a length class."
    for power in range(1, SCALES + 1):
        l1 = spec.l1 >> power
        if l1 >= 4 and not _lacking(spec, asked, inventory, l1):
            return (
                f"Nearest scale: the present one divided by {1 << power}, which is L1 = {l1:,} "
                f"tokens and sequences of {max(1, spec.length >> power):,}, can be met."
            )
    return "Nearest scale: none down to the present one divided by 65,536 can be met."


def _nearest_mixture(spec: PlanSpec, asked: Sequence[int], inventory: Inventory) -> str:
    limits = _limits(spec, inventory, spec.l1)
    # Of documents end to end whole sequences are drawn.
    unit = spec.length if spec.packing == "stream" else 1
    budget = sum(asked) // unit
    found = nearest_mixture(budget, asked, [limit // unit for limit in limits])
    if found is None:
        most = sum(limit // unit for limit, part in zip(limits, asked, strict=True) if part) * unit
        return (
            f"Nearest mixture: none, for all components that are drawn from give {most:,} tokens; "
            f"ask for at most {most // spec.length * spec.length:,}."
        )
    parts = ", ".join(
        f"{component.name} {part * unit:,} ({100 * part / budget:.1f} %)"
        for component, part in zip(spec.components, found, strict=True)
    )
    return f"Nearest mixture at this L1, in tokens: {parts}."
