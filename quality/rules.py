"""Rules: predicates over signal columns, and the decision that an ordered list of them makes.

A rule *keeps* a document whose value lies in the closed interval [min, max], is one of ``in_`` and
none of ``not_in``. Three things make a rule say nothing: a null or NaN value (never measured), a
``when`` condition that does not hold, and a condition on a null.

A float32 column is compared with the threshold rounded to float32, so that a document that stands
exactly on a threshold (3 of 10 lines against .3) stays on the keeping side, as in exact arithmetic.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Scalar = str | int | float | bool
Op = Literal["min", "max", "in", "not_in"]
OPS: tuple[Op, ...] = ("min", "max", "in", "not_in")


class RuleError(ValueError):
    """A rule that cannot be, or that a table cannot answer."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one column that must hold for a rule to apply.

    ``value`` is a number for ``min`` and ``max`` (inclusive), a tuple for ``in`` and ``not_in``.
    """

    column: str
    op: Op
    value: float | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a document's signal must satisfy for the document to be kept.

    Attributes
    ----------
    name: how ledger and report call the rule.
    signal: the column it tests.
    min, max: inclusive bounds; None leaves that side open.
    in_, not_in: values that are kept, values that are dropped.
    when: conditions, all of which must hold for the rule to apply.

    Raises
    ------
    RuleError
        If the rule tests nothing, or no value could pass it.
    """

    name: str
    signal: str
    min: float | None = None
    max: float | None = None
    in_: tuple[Scalar, ...] | None = None
    not_in: tuple[Scalar, ...] | None = None
    when: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if self.min is None and self.max is None and self.in_ is None and self.not_in is None:
            raise RuleError(f"rule {self.name!r}: expected one of min, max, in, not_in")
        for bound in (self.min, self.max):
            if bound is not None and not math.isfinite(bound):
                raise RuleError(f"rule {self.name!r}: found {bound}, expected a finite threshold")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise RuleError(
                f"rule {self.name!r}: found min {self.min:g} above max {self.max:g}: "
                "no value passes"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns the rule reads: its signal, then those of its conditions."""
        return tuple(dict.fromkeys((self.signal, *(c.column for c in self.when))))

    def to_json(self) -> dict[str, Any]:
        """The rule in the form recipes write it; ``from_json`` is the inverse."""
        plain: dict[str, Any] = {"name": self.name, "signal": self.signal}
        for key, value in (
            ("min", self.min),
            ("max", self.max),
            ("in", self.in_),
            ("not_in", self.not_in),
        ):
            if value is not None:
                plain[key] = list(value) if isinstance(value, tuple) else value
        if self.when:
            when: dict[str, dict[str, Any]] = {}
            for c in self.when:
                tested = list(c.value) if isinstance(c.value, tuple) else c.value
                when.setdefault(c.column, {})[c.op] = tested
            plain["when"] = when
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Rule:
        """Build a rule from a mapping with the keys a recipe uses."""
        when = tuple(
            Condition(column, op, tuple(tests[op]) if isinstance(tests[op], list) else tests[op])
            for column, tests in plain.get("when", {}).items()
            for op in OPS
            if op in tests
        )
        within, without = plain.get("in"), plain.get("not_in")
        return cls(
            plain["name"],
            plain["signal"],
            plain.get("min"),
            plain.get("max"),
            None if within is None else tuple(within),
            None if without is None else tuple(without),
            when,
        )

    def describe(self) -> str:
        """What the rule demands, in one line: ``50 <= gopher.words <= 100000``."""
        parts = []
        if self.min is not None or self.max is not None:
            low = "" if self.min is None else f"{self.min:.12g} <= "
            high = "" if self.max is None else f" <= {self.max:.12g}"
            parts.append(f"{low}{self.signal}{high}")
        if self.in_ is not None:
            parts.append(f"{self.signal} in {_listed(self.in_)}")
        if self.not_in is not None:
            parts.append(f"{self.signal} not in {_listed(self.not_in)}")
        text = " and ".join(parts)
        if self.when:
            text += " when " + " and ".join(_describe(c) for c in self.when)
        return text


def _listed(values: Sequence[Scalar]) -> str:
    return "[" + ", ".join(str(v) for v in values) + "]"


def _describe(condition: Condition) -> str:
    if isinstance(condition.value, tuple):
        op = "in" if condition.op == "in" else "not in"
        return f"{condition.column} {op} {_listed(condition.value)}"
    sign = ">=" if condition.op == "min" else "<="
    return f"{condition.column} {sign} {condition.value:.12g}"


def failures(table: pa.Table, rules: Sequence[Rule]) -> NDArray[np.bool_]:
    """Which rules each document fails, each rule taken alone.

    Parameters
    ----------
    table: n rows, with every column that the rules name (nulls allowed).
    rules: r rules.

    Returns
    -------
    bool[n, r], True where the rule would drop the document.

    Raises
    ------
    RuleError
        If a column is missing, or its type cannot be compared as the rule asks.
    """
    columns = _Columns(table)
    fails = np.zeros((table.num_rows, len(rules)), np.bool_)
    for r, rule in enumerate(rules):
        for op, value in _tests(rule):
            fails[:, r] |= columns.test(rule, Condition(rule.signal, op, value), holds=False)
        for condition in rule.when:
            fails[:, r] &= columns.test(rule, condition, holds=True)
    return fails


def decide(
    table: pa.Table, rules: Sequence[Rule]
) -> tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64]]:
    """The first rule, in order, that each document fails.

    Parameters
    ----------
    table: n rows, with every column that the rules name (nulls allowed).
    rules: the rules in the order in which they are to drop documents.

    Returns
    -------
    rule: int16[n], index into ``rules``, -1 where the document is kept.
    value: float64[n], the document's value, NaN where kept or where the signal is no number.
    threshold: float64[n], the bound that the value crossed, as the rule states it; NaN likewise.
    """
    fails = failures(table, rules)
    n = table.num_rows
    rule = np.full(n, -1, np.int16)
    value = np.full(n, np.nan)
    threshold = np.full(n, np.nan)
    if not rules:
        return rule, value, threshold
    failed = fails.any(axis=1)
    rule[failed] = fails[failed].argmax(axis=1)
    columns = _Columns(table)
    for r in np.unique(rule[failed]):
        rows = np.flatnonzero(rule == r)
        tested = rules[r]
        numbers = columns.numbers(tested.signal)
        if numbers is None:
            continue
        value[rows] = numbers[0][rows]
        bounds: tuple[tuple[Op, float | None], ...] = (("min", tested.min), ("max", tested.max))
        for op, bound in bounds:
            if bound is not None:
                crossed = columns.test(tested, Condition(tested.signal, op, bound), holds=False)
                threshold[rows[crossed[rows]]] = bound
    return rule, value, threshold


def _tests(rule: Rule) -> list[tuple[Op, float | tuple[Scalar, ...]]]:
    values = (rule.min, rule.max, rule.in_, rule.not_in)
    return [(op, value) for op, value in zip(OPS, values, strict=True) if value is not None]


class _Columns:
    """Columns of a table as NumPy arrays, converted once each."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._numbers: dict[str, tuple[NDArray[Any], NDArray[np.bool_]]] = {}

    def column(self, name: str) -> pa.Array:
        if name not in self.table.column_names:
            near = difflib.get_close_matches(name, self.table.column_names, 1)
            hint = f"; nearest is {near[0]!r}" if near else ""
            raise RuleError(f"found no column {name!r} in the table{hint}")
        column = self.table.column(name).combine_chunks()
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def numbers(self, name: str) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
        """Values (in their own type; nulls are 0) and validity; None for text columns."""
        if name not in self._numbers:
            column = self.column(name)
            if pa.types.is_timestamp(column.type):
                column = column.cast(pa.timestamp("s", tz=column.type.tz), safe=False)
                column = column.cast(pa.int64())
            elif pa.types.is_boolean(column.type):
                column = column.cast(pa.int8())
            elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                return None
            values = column.fill_null(0).to_numpy(zero_copy_only=False)
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            self._numbers[name] = (values, valid)
        return self._numbers[name]

    def test(self, rule: Rule, condition: Condition, holds: bool) -> NDArray[np.bool_]:
        """Rows with a value for which the condition is ``holds``: nulls and NaN are in neither."""
        numbers = self.numbers(condition.column)
        try:
            if numbers is not None:
                return _test_numbers(*numbers, condition, holds)
            return _test_text(self.column(condition.column), condition, holds)
        except (TypeError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RuleError(
                f"rule {rule.name!r}: {condition.op} of {condition.value!r} cannot test column "
                f"{condition.column!r} of type {self.table.schema.field(condition.column).type}"
            ) from error


def _test_numbers(
    values: NDArray[Any], valid: NDArray[np.bool_], condition: Condition, holds: bool
) -> NDArray[np.bool_]:
    result: NDArray[np.bool_]
    if isinstance(condition.value, tuple):
        if any(isinstance(v, str) for v in condition.value):
            raise TypeError("text against numbers")
        wanted = np.asarray(condition.value).astype(values.dtype)
        result = np.isin(values, wanted) == (condition.op == "in")
    else:
        # NumPy rounds a Python float to float32 beside a float32 column (NEP 50), and compares
        # integer columns in float64.
        bound = float(condition.value)
        result = values >= bound if condition.op == "min" else values <= bound
    result = result if holds else ~result
    if values.dtype.kind == "f":
        valid = valid & ~np.isnan(values)
    return result & valid


def _test_text(column: pa.Array, condition: Condition, holds: bool) -> NDArray[np.bool_]:
    if not isinstance(condition.value, tuple):
        raise TypeError("a bound against text")
    wanted = pa.array(condition.value, pa.string())
    if pa.types.is_dictionary(column.type):
        values = column.dictionary.cast(pa.string())
        found = pc.is_in(values, value_set=wanted).take(column.indices)
    else:
        found = pc.is_in(column.cast(pa.large_string()), value_set=wanted.cast(pa.large_string()))
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    result: NDArray[np.bool_] = found.fill_null(False).to_numpy(zero_copy_only=False)
    answer: NDArray[np.bool_] = (result == ((condition.op == "in") == holds)) & valid
    return answer
