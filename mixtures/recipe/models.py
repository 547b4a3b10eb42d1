"""What a mixture's YAML file may say."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mixtures.amounts import Tokens
from mixtures.lengths import LengthClass
from mixtures.recipe.shares import Ratio, Share, percent
from mixtures.selection import Condition, Part, check_repeat, known_dialects
from mixtures.spec import Component

DEFAULT_EPOCHS, LOW_EPOCHS = 4, 2
"""How often documents are read at most: past that repeated text stops helping, and text of low
quality does so earlier (MiniMax-01, arXiv:2501.08313, section 4.1.3)."""

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,47}$")]
_WEIGHING = {"weight", "times", "floor", "epochs"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComponentRecipe(_Part):
    """Documents of a mixture (the fields of `mixtures.spec.Component`), and how much of them.

    Attributes
    ----------
    weight : its share of the tokens
    times : instead, its share of the corpus's tokens times this, against those of the others
    floor : the least share that it has, whatever its weight
    epochs : cap; None: 2 where the tier ``low`` is named, else 4
    """

    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    except_sources: tuple[str, ...] = ()
    length: LengthClass | None = None
    tiers: tuple[str, ...] | None = Field(default=None, min_length=1)
    languages: tuple[str, ...] | None = Field(default=None, min_length=1)
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    where: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    part: Part | None = None
    repeat: dict[int, int] | None = None
    weight: Share | None = None
    times: Ratio | None = None
    floor: Share = Fraction(0)
    epochs: int | None = Field(default=None, ge=1, lt=1 << 15)

    @field_validator("where")
    @classmethod
    def _conditions(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Condition.parse(written)) for written in where)

    @field_validator("dialects")
    @classmethod
    def _dialects(cls, dialects: tuple[str, ...]) -> tuple[str, ...]:
        return known_dialects(dialects)

    @model_validator(mode="after")
    def _capped(self) -> Self:
        if self.repeat is not None:
            check_repeat(self.repeat, self.cap)
        return self

    @property
    def cap(self) -> int:
        """How often a document is read at most."""
        if self.epochs is not None:
            return self.epochs
        return LOW_EPOCHS if "low" in (self.tiers or ()) else DEFAULT_EPOCHS

    def component(self, name: str, weight: int, part: Part | None = None) -> Component:
        """As a plan has it; with a ``part``, of that."""
        fields: dict[str, Any] = {
            field: getattr(self, field) for field in type(self).model_fields if field in _CHOOSING
        }
        if part is not None:
            fields["part"] = part
        return Component(name=name, weight=weight, epochs=self.cap, **fields)


_CHOOSING = set(ComponentRecipe.model_fields) - _WEIGHING


class MixtureRecipe(_Part):
    """A mixture: components by name, of which no document may match two.

    Attributes
    ----------
    on_shortage : what to do where a component has too few tokens
        ``refuse``, or ``spread``: the others take what is missing, in proportion.
    final_tokens : of the run that this one stands for: documents are left out until each component
        is read as often as it will be there (`mixtures.downsampling`)
    """

    name: str | None = None
    description: str | None = None
    components: dict[_Name, ComponentRecipe] = Field(min_length=1)
    on_shortage: Literal["refuse", "spread"] = "refuse"
    final_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        parts = self.components
        weighed = [name for name, part in parts.items() if part.weight is not None]
        timed = [name for name, part in parts.items() if part.times is not None]
        both = sorted(set(weighed) & set(timed))
        neither = [name for name in parts if name not in weighed and name not in timed]
        if both or neither or (weighed and timed):
            told = (
                f"both of {', '.join(both)}"
                if both
                else f"neither of {', '.join(neither)}"
                if neither
                else f"weight of {', '.join(weighed)} and times of {', '.join(timed)}"
            )
            raise ValueError(f"found {told}, expected weight of all components, or times of all")
        total = sum((part.weight or Fraction(0) for part in parts.values()), Fraction(0))
        if weighed and total != 1:
            listed = ", ".join(f"{n} {percent(p.weight or Fraction(0))}" for n, p in parts.items())
            gap = "less" if total > 1 else "more"
            raise ValueError(
                f"found weights of {percent(total, 4)} in all ({listed}), expected 100%: "
                f"{percent(abs(1 - total), 4)} {gap}"
            )
        if timed and not any(part.times for part in parts.values()):
            raise ValueError("found times of 0 alone, expected one above 0")
        floors = sum((part.floor for part in parts.values()), Fraction(0))
        if floors > 1:
            raise ValueError(f"found floors of {percent(floors)} in all, expected at most 100%")
        for one, other in itertools.combinations(self.drawn(), 2):
            if one.overlaps(other) and not (one.by_signals or other.by_signals):
                raise ValueError(
                    f"found components {one.name!r} and {other.name!r}, which can hold the same "
                    "document, expected different lengths, sources, tiers, languages, domains, or "
                    "parts of one salt"
                )
        return self

    def drawn(self) -> tuple[Component, ...]:
        """The components as plans have them, all of weight 1."""
        return tuple(part.component(name, 1) for name, part in self.components.items())
