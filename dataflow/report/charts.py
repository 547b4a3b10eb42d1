"""Charts as SVG. Colours come from classes, so that one drawing serves light, dark and paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dataflow.report.markup import Safe, join, short, tag
from dataflow.report.numbers import compact, exact, plain
from dataflow.report.scales import Coarse, Kind, Mark, nice, position

WIDTH, HEIGHT = 520, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 22, 26
_TAIL = 26
"""Width that the bin of all values beyond the axis takes, with the gap before it."""


def bar(part: float, whole: float, kind: str = "kept") -> Safe:
    """A horizontal bar for a table cell."""
    width = 0.0 if whole <= 0 else max(100 * part / whole, 0.6 if part else 0)
    return tag(
        "svg",
        tag("rect", class_=f"fill-{kind}", width=width, height=8, rx=0),
        class_="bar",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def stacked_bar(parts: Sequence[tuple[float, str, str]]) -> Safe:
    """One bar of parts: (amount, class, title)."""
    total = sum(amount for amount, _, _ in parts)
    at, shapes = 0.0, []
    for amount, kind, title in parts:
        if amount > 0:
            width = 100 * amount / total
            shapes.append(
                tag("rect", tag("title", title), class_=kind, x=at, width=width, height=8)
            )
            at += width
    return tag(
        "svg", *shapes, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", role="img"
    )


class _Axis:
    """Maps values to x, linearly or by logarithm."""

    def __init__(self, coarse: Coarse, left: float, right: float) -> None:
        self.log = coarse.log
        self.low, self.high = (self._scale(v) for v in (coarse.edges[0], coarse.edges[-1]))
        self.left, self.right = left, right

    def _scale(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        if self.log and value <= 0:
            return self.left
        share = (self._scale(value) - self.low) / (self.high - self.low or 1)
        return self.left + min(max(share, 0), 1) * (self.right - self.left)

    def ticks(self) -> list[float]:
        if self.log:
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            ticks = [10.0**power for power in powers]
            if len(ticks) < 3:
                ticks = sorted({*ticks, *(t * f for t in (ticks or [1.0]) for f in (0.2, 2, 5))})
                ticks = [t for t in ticks if self.low <= math.log10(t) <= self.high]
            return ticks
        step = nice((self.high - self.low) / 6)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def histogram(
    coarse: Coarse,
    kind: Kind,
    marks: Sequence[Mark] = (),
    *,
    labels: tuple[str, str] = ("passes", "fails"),
    classes: tuple[str, str] = ("kept", "drop"),
    unit: str = "documents",
    describe: str = "",
    show: Callable[[float], str] = plain,
) -> Safe:
    """Stacked bars of two groups over a value axis, heights by square root, thresholds as lines.

    The square root keeps bins of a few documents visible beside the bulk: near a threshold they
    are what matters. The share of the groups within a bar is linear.
    """
    total = coarse.counts.sum(axis=0)
    below, above = int(coarse.below.sum()), int(coarse.above.sum())
    left = _LEFT + (_TAIL if below else 0)
    end = WIDTH - _RIGHT
    right = end - (_TAIL if above else 0)
    axis = _Axis(coarse, left, right)
    top = max(int(total.max(initial=0)), below, above, 1)
    floor = HEIGHT - _BOTTOM
    scale = (floor - _TOP) / math.sqrt(top)
    # No integer lies between a fractional edge and the next whole number.
    first = math.ceil(coarse.edges[0]) if kind == "integer" else coarse.edges[0]
    shapes: list[Safe] = [_grid(top, scale, floor)]
    for low, high, pair in zip(coarse.edges, coarse.edges[1:], coarse.counts.T, strict=False):
        title = f"{show(low)} to {show(high)}"
        shapes += _column(axis(low), axis(high), pair, scale, floor, title, labels, classes)
    if below:
        title = f"below {show(first)}"
        shapes += _column(_LEFT, left - 8, coarse.below, scale, floor, title, labels, classes)
        shapes.append(_label((_LEFT + left - 8) / 2, floor + 15, f"<{show(first)}"))
    if above:
        title = f"{show(coarse.edges[-1])} and above"
        shapes += _column(right + 8, end, coarse.above, scale, floor, title, labels, classes)
        shapes.append(_label((right + 8 + end) / 2, floor + 15, "more"))
    shapes.append(tag("line", class_="axis", x1=left, x2=right, y1=floor + 0.5, y2=floor + 0.5))
    # Bins of one integer each are labelled in their middle.
    single = kind == "integer" and not coarse.log and coarse.edges[1] - coarse.edges[0] == 1
    centre = (axis(coarse.edges[1]) - axis(coarse.edges[0])) / 2 if single else 0.0
    for tick in axis.ticks()[: -1 if single else None]:
        x = axis(tick)
        if left + (14 if below else -1) <= x <= right - (18 if above else 0):
            shapes.append(tag("line", class_="axis", x1=x, x2=x, y1=floor, y2=floor + 4))
            text = compact(tick) if tick >= 10_000 else show(tick)
            shapes.append(_label(x + centre, floor + 15, text))
    for mark in marks:
        shapes.append(_threshold(axis(position(mark, kind)), mark, floor, show, left, right))
    return tag(
        "svg",
        *shapes,
        class_="chart",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=describe or f"Histogram of {unit}",
    )


def _grid(top: int, scale: float, floor: float) -> Safe:
    lines: list[Safe] = []
    last = -math.inf
    powers = [10**k for k in range(len(str(top)))]
    for value in sorted({top, *powers}, reverse=True):
        y = floor - scale * math.sqrt(value)
        if y - last >= 14:
            last = y
            lines.append(tag("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y))
            lines.append(tag("text", compact(value), class_="tick end", x=_LEFT - 6, y=y + 3.5))
    return join(lines)


def _column(
    x1: float,
    x2: float,
    pair: NDArray[np.int64],
    scale: float,
    floor: float,
    where: str,
    labels: tuple[str, str],
    classes: tuple[str, str],
) -> list[Safe]:
    total = int(pair.sum())
    if not total:
        return []
    gap = 1.0 if x2 - x1 > 4 else 0.3
    height = max(scale * math.sqrt(total), 1.2)
    parts = [f"{exact(int(n))} {label}" for n, label in zip(pair, labels, strict=False) if n]
    shapes = [tag("title", f"{where}: {', '.join(parts)}")]
    y: float = floor
    for n, kind in zip(pair, classes, strict=False):
        part = height * int(n) / total
        if n:
            y -= part
            shapes.append(
                tag(
                    "rect",
                    class_=f"fill-{kind}",
                    x=x1 + gap / 2,
                    width=max(x2 - x1 - gap, 0.6),
                    y=y,
                    height=part,
                )
            )
    return [tag("g", *shapes, class_="column")]


def _label(x: float, y: float, text: str, kind: str = "tick mid") -> Safe:
    return tag("text", text, class_=kind, x=x, y=y)


def _threshold(
    x: float, mark: Mark, floor: float, show: Callable[[float], str], left: float, right: float
) -> Safe:
    sign = "≥" if mark.side == "min" else "≤"
    text = f"keep {sign} {show(mark.value)}"
    # The label stands on the keeping side unless it would run out of the drawing.
    after = mark.side == "min"
    if after and x > right - 92:
        after = False
    elif not after and x < left + 92:
        after = True
    return join(
        tag("line", class_="threshold", x1=x, x2=x, y1=10, y2=floor),
        tag(
            "text",
            text,
            class_="mark" if after else "mark end",
            x=x + 5 if after else x - 5,
            y=17,
        ),
    )


def columns(rows: Sequence[tuple[str, int, str]], height: int = 150, describe: str = "") -> Safe:
    """Plain columns for a few named classes: (label, amount, title); heights by square root."""
    top = max((amount for _, amount, _ in rows), default=0) or 1
    floor = height - _BOTTOM
    scale = (floor - _TOP) / math.sqrt(top)
    step = (WIDTH - _LEFT - _RIGHT) / max(len(rows), 1)
    shapes: list[Safe] = []
    for i, (label, amount, title) in enumerate(rows):
        x = _LEFT + i * step
        size = scale * math.sqrt(amount)
        if amount:
            shapes.append(
                tag(
                    "rect",
                    tag("title", title),
                    class_="fill-kept",
                    x=x + 2,
                    width=max(step - 4, 1),
                    y=floor - max(size, 1.2),
                    height=max(size, 1.2),
                )
            )
            y = floor - size - 5
            shapes.append(_label(x + step / 2, y, compact(amount), "count mid"))
        shapes.append(_label(x + step / 2, floor + 15, label))
    shapes.append(
        tag("line", class_="axis", x1=_LEFT, x2=WIDTH - _RIGHT, y1=floor + 0.5, y2=floor + 0.5)
    )
    return tag(
        "svg",
        *shapes,
        class_="chart",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=describe,
    )


def lsh_curve(bands: int, rows: int, threshold: float, found: NDArray[np.int64]) -> Safe:
    """How likely a pair is proposed, against its similarity, over the pairs that were removed.

    ``found`` counts dropped documents by similarity, in equal bins of [0, 1].
    """
    height = 250
    left, right, floor = _LEFT, WIDTH - _RIGHT, height - _BOTTOM
    reach = floor - _TOP
    shapes: list[Safe] = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = floor - share * reach
        shapes.append(tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
        shapes.append(tag("text", f"{share:.0%}", class_="tick end", x=left - 6, y=y + 3.5))
    top = max(int(found.max(initial=0)), 1)
    step = (right - left) / len(found)
    for i, n in enumerate(found.tolist()):
        if n:
            size = max(reach * math.sqrt(n / top), 1.2)
            low, high = plain(i / len(found)), plain((i + 1) / len(found))
            shapes.append(
                tag(
                    "rect",
                    tag("title", f"Jaccard {low} to {high}: {exact(n)} documents dropped"),
                    class_="fill-drop soft",
                    x=left + i * step + 0.5,
                    width=step - 1,
                    y=floor - size,
                    height=size,
                )
            )
    points = []
    for i in range(101):
        chance = 1 - (1 - (i / 100) ** rows) ** bands
        points.append(f"{short(left + i / 100 * (right - left))},{short(floor - chance * reach)}")
    shapes.append(tag("polyline", class_="curve", points=" ".join(points)))
    for i in range(6):
        shapes.append(_label(left + i / 5 * (right - left), floor + 15, plain(i / 5)))
    x = left + threshold * (right - left)
    shapes.append(tag("line", class_="threshold", x1=x, x2=x, y1=10, y2=floor))
    text = f"duplicate ≥ {plain(threshold)}"
    shapes.append(tag("text", text, class_="mark end", x=x - 5, y=17))
    return tag(
        "svg",
        *shapes,
        class_="chart",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"Probability of being proposed, {bands} bands of {rows} rows",
    )
