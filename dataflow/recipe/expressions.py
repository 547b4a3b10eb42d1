"""The survivor order's small language: arithmetic over columns, with a direction.

A term is an expression and ``asc`` (the default) or ``desc``: ``text.words desc``,
``min(lang.score, 0.9) * text.words``, ``lang.label == "en" desc``. Names are columns, dots and all.
Only numbers, text constants (in ``==`` and ``!=``), + - * /, comparisons, ``min`` and ``max``
exist; the text is parsed, checked node by node, and never executed by Python.

A null or NaN anywhere in an expression makes it null, and so does an infinite result, as of a
division by zero. Nulls come last in either direction.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataflow.recipe.problems import nearest, one_of

MAX_CHARS = 1000
MAX_DEPTH = 40

Floats = NDArray[np.float64]

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_CALLS: dict[str, Callable[[Any, Any], Any]] = {"min": np.minimum, "max": np.maximum}
_ALLOWED = "numbers, column names, + - * /, comparisons, min(a, b), max(a, b)"
_DIRECTION = re.compile(r"^(.*\S)\s+(asc|desc)$", re.DOTALL)


class ExpressionError(ValueError):
    """An expression outside the language; ``nearest`` is a valid name like the one found."""

    def __init__(self, found: str, expected: str, near: str | None = None) -> None:
        super().__init__(f"found {found}, expected {expected}")
        self.found = found
        self.expected = expected
        self.nearest = near


@dataclass(frozen=True)
class Term:
    """One term of the survivor order."""

    text: str
    descending: bool
    columns: tuple[str, ...]
    tree: ast.expr


def parse_term(text: str, types: Mapping[str, pa.DataType]) -> Term:
    """Parse ``EXPRESSION [asc|desc]`` over columns of the given types.

    Raises
    ------
    ExpressionError
        If it is no expression of the language, or names a column that is not there.
    """
    match = _DIRECTION.match(text.strip())
    body, direction = (match[1], match[2]) if match else (text.strip(), "asc")
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"{len(text)} characters", f"at most {MAX_CHARS}")
    try:
        tree = ast.parse(body, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(repr(text), f"an expression of {_ALLOWED}") from error
    checker = _Checker(types)
    if checker.check(tree, 0) == "text":
        raise ExpressionError(f"text in {body!r}", "an expression that is a number")
    return Term(text, direction == "desc", tuple(checker.columns), tree)


def evaluate(term: Term, table: pa.Table) -> Floats:
    """Evaluate a term's expression, direction aside.

    Parameters
    ----------
    term: as parsed over the table's columns.
    table: n rows with the columns that ``term.columns`` names.

    Returns
    -------
    float64[n], NaN where the value is null. Timestamps count as seconds since the epoch, truth
    values as 0 and 1. Operations are elementwise IEEE 754, so equal on every machine.
    """
    with np.errstate(all="ignore"):
        value = np.broadcast_to(_value(term.tree, table), (table.num_rows,)).astype(np.float64)
    value[~np.isfinite(value)] = np.nan
    return value


def sort_key(term: Term, table: pa.Table) -> Floats:
    """A key that, sorted ascending, gives the term's order: nulls are +inf, so last."""
    value = evaluate(term, table)
    key: Floats = np.where(np.isnan(value), np.inf, -value if term.descending else value)
    return key + 0.0  # -0.0 and 0.0 are one value: keys may be compared by their bits


def _column_name(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_timestamp)
    return any(test(kind) for test in tests)


class _Checker:
    """Walks an expression once; what it lets through, ``_value`` can compute."""

    def __init__(self, types: Mapping[str, pa.DataType]) -> None:
        self.types = types
        self.columns: dict[str, None] = {}

    def check(self, node: ast.expr, depth: int) -> str:
        """``number`` or ``text``, the kind of the node."""
        if depth > MAX_DEPTH:
            raise ExpressionError(f"more than {MAX_DEPTH} levels", "a simpler expression")
        name = _column_name(node)
        if name is not None:
            return self._column(name)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return self._numbers([node.operand], depth)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self._numbers([node.left, node.right], depth)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            sides = (node.left, node.comparators[0])
            kinds = [self.check(side, depth + 1) for side in sides]
            if kinds[0] != kinds[1] or (
                kinds[0] == "text" and not isinstance(node.ops[0], (ast.Eq, ast.NotEq))
            ):
                raise ExpressionError(ast.unparse(node), "numbers, or text with == or !=")
            return "number"
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise ExpressionError(ast.unparse(node), _ALLOWED)

    def _constant(self, node: ast.Constant) -> str:
        if isinstance(node.value, str):
            return "text"
        # A float, not an int of any length: huge integers do not become columns.
        if isinstance(node.value, (int, float)) and abs(node.value) < 1e300:
            return "number"
        raise ExpressionError(ast.unparse(node)[:40], "a number or a text constant")

    def _numbers(self, nodes: Iterable[ast.expr], depth: int) -> str:
        for node in nodes:
            if self.check(node, depth + 1) != "number":
                raise ExpressionError(f"text in {ast.unparse(node)}", "a number")
        return "number"

    def _call(self, node: ast.Call, depth: int) -> str:
        called = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if called not in _CALLS or node.keywords or len(node.args) < 2:
            raise ExpressionError(
                f"{called}(…)", "min(a, b, …) or max(a, b, …)", nearest(called, _CALLS)
            )
        return self._numbers(node.args, depth)

    def _column(self, name: str) -> str:
        kind = self.types.get(name)
        if kind is None or not (_is_text(kind) or _is_number(kind)):
            usable = [n for n, k in self.types.items() if _is_text(k) or _is_number(k)]
            raise ExpressionError(f"column {name!r}", one_of(usable), nearest(name, usable))
        self.columns[name] = None
        return "text" if _is_text(kind) else "number"


def _value(node: ast.expr, table: pa.Table) -> Any:
    name = _column_name(node)
    if name is not None:
        return _numbers_of(table.column(name))
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand, table)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, table), _value(node.right, table))
    if isinstance(node, ast.Compare):
        return _comparison(node, table)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    function = _CALLS[node.func.id]
    first, *rest = (_value(argument, table) for argument in node.args)
    for other in rest:
        first = function(first, other)  # NaN in, NaN out
    return first


def _comparison(node: ast.Compare, table: pa.Table) -> Any:
    operator = node.ops[0]
    left, right = (_operand(side, table) for side in (node.left, node.comparators[0]))
    if isinstance(left, pa.Array) or isinstance(right, pa.Array):
        sides = [
            pa.scalar(v, pa.large_string()) if isinstance(v, str) else v for v in (left, right)
        ]
        equal = pc.equal(*sides)
        answer = equal if isinstance(operator, ast.Eq) else pc.invert(equal)
        return float(answer.as_py()) if isinstance(answer, pa.Scalar) else _numbers_of(answer)
    answer = _COMPARE[type(operator)](left, right).astype(np.float64)
    return np.where(np.isnan(left) | np.isnan(right), np.nan, answer)


def _operand(node: ast.expr, table: pa.Table) -> Any:
    """Numbers as NumPy, text columns as Arrow arrays, text constants as Arrow scalars."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return pa.scalar(node.value, pa.large_string())
    name = _column_name(node)
    if name is not None and _is_text(table.schema.field(name).type):
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        return column.cast(pa.large_string())
    return np.asarray(_value(node, table))


def _numbers_of(column: pa.Array | pa.ChunkedArray) -> Floats:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", tz=column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    wide = column.cast(pa.float64(), safe=False)
    numbers: Floats = wide.fill_null(float("nan")).to_numpy()
    return numbers
