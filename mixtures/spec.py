"""What a plan is asked for: length, budget, and the weights of its components over the stage."""

from __future__ import annotations

import itertools
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from dataflow.tilings import TILINGS
from mixtures.lengths import LengthClass
from mixtures.selection import Condition, Part, check_repeat, known_dialects

MAX_COMPONENTS = 4096
MAX_WHOLE_SEQUENCES = 1 << 29
"""Of a plan that packs documents whole: its schedule counts half sequences in 31 bits."""

Packing = Literal["stream", "whole"]

_LATER_FIELDS = ("tiers", "languages", "domains", "where", "dialects", "part", "repeat")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(_Part):
    """Documents that match all that is given of it; None and empty ones do not choose.

    Attributes
    ----------
    length, sources, except_sources, tiers, languages, domains
        By columns of the run's index. A document without a domain is of none.
    where : conditions on signals, as ``gopher.words >= 50``
        Each must hold. A null or NaN signal matches none, not even ``!=``. A float32 signal is
        compared with the number rounded to float32, as rules do.
    dialects : names of `quality.dialects`
        No rule of these may drop the document. As in a build, a rule says nothing of a document
        whose signal is null.

        Both are views: stricter than the build at most. What the build dropped is not packed, so
        a looser threshold needs another build.
    part : a sample by a hash of near-duplicate clusters, or None
    repeat : from which size of a document's near-duplicate cluster on it is read how often
        within an epoch; None: once. Its copies lie apart in the epoch. Exact copies count, and so
        do members that the build dropped: the cluster is that of the whole ledger.
    weight
        Its share of the tokens, against the sum of all weights: an integer, so that quotas are
        exact. A component that only another phase of the stage draws from has weight 0.
    epochs
        The most that any of its documents may be read, copies of `repeat` counted: the default is
        where repeated high-quality text stops helping (arXiv:2305.16264; MiniMax-01,
        arXiv:2501.08313, section 4.1.3).
    """

    name: str = Field(min_length=1, max_length=64)
    length: LengthClass | None = None
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    except_sources: tuple[str, ...] = ()
    weight: int = Field(ge=0, lt=1 << 62)
    epochs: int = Field(default=4, ge=1, lt=1 << 15)
    tiers: tuple[str, ...] | None = Field(default=None, min_length=1)
    languages: tuple[str, ...] | None = Field(default=None, min_length=1)
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    where: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    part: Part | None = None
    repeat: dict[int, int] | None = None

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
            check_repeat(self.repeat, self.epochs)
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without fields that came later where they are at their defaults, as `PlanSpec` does."""
        found: dict[str, Any] = write(self)
        for name in _LATER_FIELDS:
            if name in found and not found[name]:
                del found[name]
        return found

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of ``where``."""
        return tuple(map(Condition.parse, self.where))

    @property
    def by_signals(self) -> bool:
        """Whether signals choose its documents."""
        return bool(self.where or self.dialects)

    @property
    def passes(self) -> int:
        """How many epochs may be read: those of the cap, divided by the most copies in one."""
        return self.epochs // max((self.repeat or {1: 1}).values())

    @property
    def selection(self) -> tuple[Any, ...]:
        """All that chooses its documents besides their length, and how often an epoch has them:
        the same of two components that differ in length, name, weight and epochs alone."""
        repeat = None if self.repeat is None else tuple(sorted(self.repeat.items()))
        columns = (self.sources, self.except_sources, self.tiers, self.languages, self.domains)
        return (*columns, self.where, self.dialects, self.part, repeat)

    @property
    def by_source(self) -> bool:
        """Whether nothing chooses its documents besides their source and length."""
        return not any(getattr(self, name) for name in _LATER_FIELDS)

    def draws_from(self, source: str) -> bool:
        """Whether documents of a source can be of this component."""
        return source not in self.except_sources and (
            self.sources is None or source in self.sources
        )

    def overlaps(self, other: Component) -> bool:
        """Whether a document could be of both, as far as its columns tell."""
        if None not in (self.length, other.length) and self.length != other.length:
            return False
        for mine, its in (
            (self.tiers, other.tiers),
            (self.languages, other.languages),
            (self.domains, other.domains),
        ):
            if mine is not None and its is not None and not set(mine) & set(its):
                return False
        if self.part is not None and other.part is not None and not self.part.overlaps(other.part):
            return False
        if self.sources is None and other.sources is None:
            return True
        named = {*(self.sources or ()), *(other.sources or ())}
        return any(self.draws_from(source) and other.draws_from(source) for source in named)


class Transition(_Part):
    """Weights go linearly from ``previous`` to the components' own over the first ``tokens``."""

    tokens: int = Field(ge=1)
    previous: dict[str, int]


class LateMixture(_Part):
    """Other weights from token ``start`` of the stage to its end."""

    start: int = Field(ge=0)
    weights: dict[str, int]


class PlanSpec(_Part):
    """One stage's data.

    Parameters
    ----------
    length : int
        L, tokens of a packed sequence.
    tokens : int
        The stage's budget. The plan has ``tokens // length`` sequences.
    seed : int
        0 to 2**64 - 1.
    l1 : int
        L1 in tokens, to which the length classes are relative.
    components : of which no document may match two
    transition : from the mixture of the stage before, or None
    late : the mixture of the stage's end, or None
    packing : how documents become sequences
        ``stream``: laid end to end and cut every L tokens. ``whole``: only documents longer than L
        are cut; the rest of a sequence that no document fits into is left empty.
    tiling : str or None
        Where documents have images: by which tiling their features are counted.
    longer : how documents longer than L are packed whole
        ``cut``: into pieces, but for those with images, which are left out. ``leave_out``: not.
    together : tokens of a shard that stay together in an epoch, and in their place
        0: a sample, and its documents come in an order of their own. A larger stretch is read in
        fewer and longer reads; shards are in an order of hashes as they are, so that what is random
        the less is the order of an epoch beside that of the one before.
    """

    length: int = Field(ge=1, le=1 << 31)
    tokens: int = Field(ge=1, lt=1 << 62)
    seed: int = Field(default=0, ge=0, lt=1 << 64)
    l1: int = Field(default=131_072, ge=1, lt=1 << 48)
    components: tuple[Component, ...] = Field(min_length=1, max_length=MAX_COMPONENTS)
    transition: Transition | None = None
    late: LateMixture | None = None
    packing: Packing = "stream"
    tiling: str | None = None
    longer: Literal["cut", "leave_out"] = "cut"
    together: int = Field(default=0, ge=0, lt=1 << 40)

    @field_validator("tiling")
    @classmethod
    def _known(cls, tiling: str | None) -> str | None:
        if tiling not in (None, *TILINGS):
            raise ValueError(f"found {tiling!r}, expected one of {', '.join(TILINGS)}")
        return tiling

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is at its default: plans from before it was there keep their names."""
        found: dict[str, Any] = write(self)
        if self.packing == "stream":
            del found["packing"]
        if self.tiling is None:
            del found["tiling"]
        if self.longer == "cut":
            del found["longer"]
        if not self.together:
            del found["together"]
        return found

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [component.name for component in self.components]
        if len(set(names)) < len(names):
            raise ValueError(f"found components {names}, expected each name once")
        for one, other in itertools.combinations(self.components, 2):
            # Whether signals tell them apart is seen when the plan is compiled.
            if one.overlaps(other) and not (one.by_signals or other.by_signals):
                raise ValueError(
                    f"components {one.name!r} and {other.name!r} can hold the same document, "
                    "expected different lengths, sources, tiers, languages, domains, or parts of "
                    "one salt"
                )
        weights = {"components": dict(zip(names, self.weights, strict=True))}
        if self.transition is not None:
            weights["transition.previous"] = self.transition.previous
        if self.late is not None:
            weights["late.weights"] = self.late.weights
        for field, found in weights.items():
            unknown = sorted(set(found) - set(names))
            if unknown:
                raise ValueError(
                    f"{field}: found {unknown}, expected names of components: {names}; give a "
                    "component that only this field draws from weight 0"
                )
            if min(found.values(), default=0) < 0 or sum(found.values()) < 1:
                raise ValueError(f"{field}: found {found}, expected weights of 0 or more, one > 0")
        if self.tokens < self.length:
            raise ValueError(
                f"found tokens {self.tokens}, expected at least a sequence of {self.length}"
            )
        if self.packing == "stream" and self.tiling is not None:
            raise ValueError(
                f"found tiling {self.tiling!r} and packing stream, expected packing whole: a "
                "stream is cut anywhere, and an image never"
            )
        if self.packing == "stream" and self.longer == "leave_out":
            raise ValueError(
                "found longer leave_out and packing stream, expected packing whole: a stream is "
                "cut anywhere"
            )
        if self.packing == "whole" and self.sequences > MAX_WHOLE_SEQUENCES:
            raise ValueError(
                f"found {self.sequences:,} sequences, expected at most {MAX_WHOLE_SEQUENCES:,} "
                "with packing whole; divide the stage"
            )
        ramp = 0 if self.transition is None else self.transition.tokens
        if self.late is not None and self.late.start < ramp:
            raise ValueError(
                f"late.start is {self.late.start}, expected the end of the transition or later: "
                f"{ramp}"
            )
        return self

    @property
    def weights(self) -> tuple[int, ...]:
        """The components' own weights."""
        return tuple(component.weight for component in self.components)

    @property
    def sequences(self) -> int:
        """How many packed sequences the budget holds."""
        return self.tokens // self.length

    def weights_of(self, named: dict[str, int]) -> tuple[int, ...]:
        """Weights by name as one a component; absent ones are 0."""
        return tuple(named.get(component.name, 0) for component in self.components)
