"""Variance components of a comparison, and what a design of other size would make of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mixtures.statistics.errors import StatisticsError


@dataclass(frozen=True)
class Components:
    """Variances of the difference of two arms, each summed over the two where they are no pairs.

    Attributes
    ----------
    run: between runs (between pairs of runs of one seed): what more seeds average out.
    item: between items in how much they differ between the arms: what more items average out.
    residual: of an item in a run beyond that; of one measured item it is part of ``run``.
    groups: 1 where seeds are paired, 2 where they are not.
    items: how many items they were measured on. With 1, ``item`` and ``residual`` are not known,
        and nothing can be said of other numbers of items.
    """

    run: float
    item: float = 0.0
    residual: float = 0.0
    groups: int = 2
    items: int = 2

    def __post_init__(self) -> None:
        for name in ("run", "item", "residual"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise StatisticsError(f"{name}: found variance {value}, expected 0 or more")
        if self.groups not in (1, 2):
            raise StatisticsError(f"groups: found {self.groups}, expected 1 (pairs) or 2")

    def as_dict(self) -> dict[str, float]:
        """The three variances by name."""
        plain = asdict(self)
        return {name: plain[name] for name in ("run", "item", "residual")}

    def of_design(self, seeds: int, items: int) -> float:
        """The variance of the effect of ``seeds`` runs an arm that answer ``items`` items.

        Raises
        ------
        StatisticsError
            Fewer than two seeds, no items, or another number of items where one was measured.
        """
        if seeds < 2:
            raise StatisticsError(f"seeds: found {seeds}, expected 2 or more")
        if items < 1:
            raise StatisticsError(f"items: found {items}, expected 1 or more")
        if self.items == 1 and items != 1:
            raise StatisticsError(
                f"items: found {items}, expected 1: these variances were measured on one value a "
                "run, which does not say what more items would change"
            )
        return self.run / seeds + self.item / items + self.residual / (seeds * items)
