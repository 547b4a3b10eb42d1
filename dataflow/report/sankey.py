"""The funnel: every source on its way through the rules and deduplication, and what falls out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dataflow.report.markup import Safe, short, tag

WIDTH = 980
_X = (176, 500, 800)
_BAR = 9
_SCALE = 330.0
"""Height of everything together, before gaps."""

_TOP = 46
_NAME_BEFORE, _NAME_AFTER = 17, 30
"""Characters of a name that fit left of the sources, and between two stages."""

_LABEL = 16
"""Height that a label needs."""


@dataclass(frozen=True)
class Stream:
    """One source's amounts: what fell out before the middle, what fell out after it, what is left.

    ``early`` and ``late`` are by the name of the reason.
    """

    name: str
    early: Mapping[str, float]
    late: Mapping[str, float]
    kept: float

    @property
    def total(self) -> float:
        return sum(self.early.values()) + self.passed

    @property
    def passed(self) -> float:
        return sum(self.late.values()) + self.kept


@dataclass
class _Node:
    """A bar: where its next incoming and outgoing ribbons attach."""

    x: float
    y: float
    height: float
    inflow: float = field(init=False)
    outflow: float = field(init=False)

    def __post_init__(self) -> None:
        self.inflow = self.outflow = self.y


def _ribbon(source: _Node, target: _Node, size: float, color: str, title: str) -> Safe:
    x1, x2 = source.x + _BAR, target.x
    y1, y2 = source.outflow, target.inflow
    source.outflow += size
    target.inflow += size
    middle = (x1 + x2) / 2
    path = (
        f"M{short(x1)} {short(y1)}C{short(middle)} {short(y1)} {short(middle)} {short(y2)} "
        f"{short(x2)} {short(y2)}v{short(size)}C{short(middle)} {short(y2 + size)} "
        f"{short(middle)} {short(y1 + size)} {short(x1)} {short(y1 + size)}z"
    )
    return tag("path", tag("title", title), class_=f"ribbon {color}", d=path)


def _stack(
    x: float, y: float, names: Sequence[str], sizes: Mapping[str, float], gap: float
) -> dict[str, _Node]:
    nodes = {}
    for name in names:
        # A label needs its room even where the bar is thin.
        pad = max(0.0, (_LABEL - sizes[name]) / 2)
        nodes[name] = _Node(x, y + pad, sizes[name])
        y += sizes[name] + 2 * pad + gap
    return nodes


def sankey(
    streams: Sequence[Stream],
    early: Sequence[str],
    late: Sequence[str],
    amount: Callable[[float], str],
    door: str,
    describe: str,
) -> Safe:
    """Draw the streams (in order, coloured ``s0`` …); ``early`` and ``late`` order the reasons.

    ``door`` is the heading of the sources.
    """
    total = sum(stream.total for stream in streams)
    if total <= 0:
        return tag("p", "Nothing was read.", class_="note")
    unit = _SCALE / total
    sizes = {stream.name: stream.total * unit for stream in streams}
    sources = _stack(_X[0], _TOP, [s.name for s in streams], sizes, 5)
    passed_size = sum(s.passed for s in streams) * unit
    kept_size = sum(s.kept for s in streams) * unit
    passed = _Node(_X[1], _TOP, passed_size)
    kept = _Node(_X[2], _TOP, kept_size)
    early_sizes = {name: sum(s.early.get(name, 0) for s in streams) * unit for name in early}
    late_sizes = {name: sum(s.late.get(name, 0) for s in streams) * unit for name in late}
    early_nodes = _stack(_X[1], _TOP + passed_size + 44, early, early_sizes, 3)
    late_nodes = _stack(_X[2], _TOP + kept_size + 34, late, late_sizes, 3)

    ribbons: list[Safe] = []
    # The middle bar is fed in the order of the sources, and gives in that order too.
    middle = {}
    for i, stream in enumerate(streams):
        source = sources[stream.name]
        middle[stream.name] = _Node(_X[1], passed.inflow, stream.passed * unit)
        for target, value, label in (
            (passed, stream.passed, "passed the rules"),
            *((early_nodes[n], stream.early.get(n, 0), n) for n in early),
        ):
            if value:
                title = f"{stream.name} → {label}: {amount(value)}"
                ribbons.append(_ribbon(source, target, value * unit, f"s{i}", title))
    for i, stream in enumerate(streams):
        for target, value, label in (
            (kept, stream.kept, "kept"),
            *((late_nodes[n], stream.late.get(n, 0), n) for n in late),
        ):
            if value:
                title = f"{stream.name} → {label}: {amount(value)}"
                ribbons.append(_ribbon(middle[stream.name], target, value * unit, f"s{i}", title))
    shapes = [*ribbons]
    for i, stream in enumerate(streams):
        node = sources[stream.name]
        shapes.append(_bar(node, f"solid s{i}"))
        shapes.append(_text(node, stream.name, amount(stream.total), before=True))
    shapes += [_bar(passed, "solid pass"), _bar(kept, "solid kept")]
    passed_total, kept_total = (sum(getattr(s, n) for s in streams) for n in ("passed", "kept"))
    shapes.append(_head(_X[0] + _BAR, door, amount(total), "end"))
    shapes.append(_head(_X[1], "Passed the rules", amount(passed_total), ""))
    shapes.append(_head(_X[2], "Kept", amount(kept_total), ""))
    for nodes, totals in ((early_nodes, early_sizes), (late_nodes, late_sizes)):
        for name, node in nodes.items():
            shapes.append(_bar(node, "solid drop"))
            shapes.append(_text(node, name, amount(totals[name] / unit), before=False))
    bottom = max(n.y + n.height for n in (*sources.values(), *early_nodes.values(),
                                          *late_nodes.values(), passed, kept))  # fmt: skip
    return tag(
        "svg",
        *shapes,
        class_="chart sankey",
        viewBox=f"0 0 {WIDTH} {short(bottom + 14)}",
        role="img",
        aria_label=describe,
    )


def _bar(node: _Node, kind: str) -> Safe:
    return tag("rect", class_=kind, x=node.x, y=node.y, width=_BAR, height=max(node.height, 1.2))


def _text(node: _Node, name: str, value: str, *, before: bool) -> Safe:
    x = node.x - 8 if before else node.x + _BAR + 8
    room = _NAME_BEFORE if before else _NAME_AFTER
    shown = name if len(name) <= room else name[: room - 1] + "…"
    return tag(
        "text",
        shown,
        tag("tspan", f"  {value}", class_="value"),
        tag("title", name) if shown != name else None,
        class_="node end" if before else "node",
        x=x,
        y=node.y + node.height / 2 + 4,
    )


def _head(x: float, name: str, value: str, anchor: str) -> Safe:
    return tag(
        "text",
        name,
        tag("tspan", f"  {value}", class_="value"),
        class_=f"head {anchor}".strip(),
        x=x,
        y=_TOP - 14,
    )
