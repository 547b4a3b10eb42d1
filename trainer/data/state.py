"""The data state of a training run: the plan, the next sequence, and what was skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from trainer.data.errors import DataError

Ranges = tuple[tuple[int, int], ...]


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same numbers as sorted ranges (start, stop) that neither overlap nor touch."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        elif start < stop:
            found.append((start, stop))
    return tuple(found)


@dataclass(frozen=True)
class DataState:
    """Where a run is in its data. It does not depend on how many ranks there are.

    Attributes
    ----------
    plan : str
        The plan's hash.
    next : int
        The sequence that the next step begins with.
    skipped : ranges (start, stop)
        Sequences that were not trained on because their shard was bad, sorted.
    left_out : ranges (start, stop)
        Sequences before ``next`` of steps that a guard left out, sorted.
    """

    plan: str
    next: int
    skipped: Ranges = ()
    left_out: Ranges = ()

    def as_json(self) -> dict[str, Any]:
        """The state as JSON values; ``left_out`` only where there is any."""
        values: dict[str, Any] = {
            "plan": self.plan,
            "next": self.next,
            "skipped": [list(r) for r in self.skipped],
        }
        if self.left_out:
            values["left_out"] = [list(r) for r in self.left_out]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The state that ``as_json`` gave."""
        skipped, left_out = (
            merge_ranges((int(start), int(stop)) for start, stop in values.get(name, ()))
            for name in ("skipped", "left_out")
        )
        return cls(str(values["plan"]), int(values["next"]), skipped, left_out)

    @classmethod
    def merged(cls, states: Iterable[Mapping[str, Any]]) -> Self:
        """One state of those of all ranks: each knows only what it skipped itself.

        Raises
        ------
        DataError
            If they are not of one plan and step.
        """
        found = [cls.from_json(state) for state in states]
        places = {(state.plan, state.next) for state in found}
        if len(places) != 1:
            raise DataError(f"found data states of {len(places)} places {places}, expected one")
        ((plan, position),) = places
        skipped, left_out = (
            merge_ranges(r for state in found for r in getattr(state, name))
            for name in ("skipped", "left_out")
        )
        return cls(plan, position, skipped, left_out)
