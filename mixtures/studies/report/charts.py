"""The charts of a study as SVG. Colours come from classes, as in the corpus report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dataflow.report.markup import Safe, join, short, tag
from dataflow.report.numbers import compact
from mixtures.studies.report.axis import Axis, mark, spanning

COLOURS = 8
_LETTER, _BOLD = 6.6, 8.0
"""About how wide a letter of a chart's text, and of its names, is in the widest of the usual fonts:
what is cut off cannot be read."""


def colour(number: int) -> str:
    """The class of the n-th series; after eight they come round again, dashed."""
    return f"c{number % COLOURS}" + (" dashed" if number >= COLOURS else "")


@dataclass(frozen=True)
class ForestRow:
    """An effect with its interval; ``mde`` is the half-width of the band of what could not be
    seen; ``kind`` the class of the mark."""

    label: str
    effect: float
    low: float
    high: float
    mde: float | None
    text: str
    kind: str
    title: str


def forest(rows: Sequence[ForestRow], sides: tuple[str, str], describe: str) -> Safe:
    """Effects against zero, one a row; ``sides`` say what left and right of zero mean."""
    labels = max(len(row.label) for row in rows)
    texts = max(len(row.text) for row in rows)
    left, height, top = 16 + min(labels, 26) * _BOLD, 30, 26
    right = 760 - 16 - texts * _LETTER
    values = [0.0, *(v for row in rows for v in (row.low, row.high, row.mde or 0, -(row.mde or 0)))]
    x = spanning(values, left, right)
    floor = top + height * len(rows) + 4
    shapes: list[Safe] = []
    for i, row in enumerate(rows):
        y = top + height * (i + 0.5)
        if row.mde:
            shapes.append(
                tag("rect", class_="blind", x=x(-row.mde), y=y - height / 2 + 2,
                    width=x(row.mde) - x(-row.mde), height=height - 4)
            )  # fmt: skip
    for tick in x.ticks():
        shapes.append(tag("line", class_="grid", x1=x(tick), x2=x(tick), y1=top, y2=floor))
        shapes.append(tag("text", mark(tick, x), class_="tick mid", x=x(tick), y=floor + 15))
    shapes.append(tag("line", class_="zero", x1=x(0), x2=x(0), y1=top - 4, y2=floor))
    shapes.append(tag("text", f"← {sides[0]}", class_="tick end", x=x(0) - 6, y=top - 9))
    shapes.append(tag("text", f"{sides[1]} →", class_="tick", x=x(0) + 6, y=top - 9))
    for i, row in enumerate(rows):
        y = top + height * (i + 0.5)
        shapes.append(
            tag(
                "g",
                tag("title", row.title),
                tag("text", row.label, class_="name end", x=left - 12, y=y + 4),
                tag("line", class_="whisker", x1=x(row.low), x2=x(row.high), y1=y, y2=y),
                tag("line", class_="whisker", x1=x(row.low), x2=x(row.low), y1=y - 5, y2=y + 5),
                tag("line", class_="whisker", x1=x(row.high), x2=x(row.high), y1=y - 5, y2=y + 5),
                tag("rect", class_="point", x=x(row.effect) - 4.5, y=y - 4.5, width=9, height=9),
                tag("text", row.text, class_="count", x=right + 14, y=y + 4),
                class_=f"effect {row.kind}",
            )
        )
    shapes.append(tag("line", class_="axis", x1=left, x2=right, y1=floor + 0.5, y2=floor + 0.5))
    return _drawing(shapes, 760, floor + 26, describe, "forest")


@dataclass(frozen=True)
class Band:
    """A line with what lies around it: (x, middle, low, high); ``lost`` are lines of runs that
    ended early."""

    label: str
    points: Sequence[tuple[float, float, float, float]]
    lost: Sequence[Sequence[tuple[float, float]]] = ()


def curves(bands: Sequence[Band], unit: str, along: str, describe: str) -> Safe:
    """Lines with bands, named at their ends. The axis shows what comes after a fifth of the way:
    the first loss of every run is that of guessing, and would press all others together."""
    width, height, left, top, bottom = 760, 330, 52, 14, 40
    names = max((len(band.label) for band in bands), default=4)
    right = width - 20 - min(names, 24) * _BOLD
    end = max((p[0] for band in bands for p in band.points), default=1.0)
    late = [v for band in bands for p in band.points if p[0] >= end / 5 for v in p[2:]]
    x, y = Axis(0, end, left, right), spanning(late, height - bottom, top, 0.04)
    shapes = [_rows(y, left, right), *_below(x, height - bottom, along, (left + right) / 2)]
    shapes.append(tag("text", unit, class_="tick", x=left + 4, y=top + 4))
    clip = tag(
        "clipPath",
        tag("rect", x=left, y=top, width=right - left, height=height - bottom - top),
        id="inside",
    )
    lines: list[Safe] = []
    ends: list[tuple[float, int]] = []
    for i, band in enumerate(bands):
        if not band.points:
            continue
        upper = [(x(p[0]), _free(y, p[3])) for p in band.points]
        lower = [(x(p[0]), _free(y, p[2])) for p in reversed(band.points)]
        lines.append(tag("polygon", class_=f"band {colour(i)}", points=_path([*upper, *lower])))
        middle = [(x(p[0]), _free(y, p[1])) for p in band.points]
        lines.append(
            tag("polyline", tag("title", band.label), class_=f"line {colour(i)}",
                points=_path(middle))
        )  # fmt: skip
        ends.append((y(band.points[-1][1]), i))
    for i, band in enumerate(bands):
        for lost in band.lost:
            points = _path([(x(a), _free(y, b)) for a, b in lost])
            title = tag("title", f"a run of {band.label} that gave no result")
            lines.append(tag("polyline", title, class_=f"line lost {colour(i)}", points=points))
    shapes += [tag("defs", clip), tag("g", *lines, clip_path="url(#inside)")]
    for at, i in _apart(ends, 13, height - bottom):
        shapes.append(
            tag("text", bands[i].label, class_=f"label {colour(i)}", x=right + 6, y=at + 4)
        )
    return _drawing(shapes, width, height, describe, "curves")


@dataclass(frozen=True)
class Series:
    """Points joined by a line, and marks beside it."""

    label: str
    line: Sequence[tuple[float, float]]
    marks: Sequence[tuple[float, float, str]] = ()
    span: tuple[float, float] | None = None
    """An interval on the x axis, drawn at the floor."""


def lines(
    series: Sequence[Series],
    unit: str,
    along: str,
    describe: str,
    level: tuple[float, str] | None = None,
    from_zero: bool = False,
) -> Safe:
    """Lines over a logarithmic axis (powers of two), with a level to compare them with."""
    width, height, left, top, bottom = 620, 300, 56, 14, 40
    names = max((len(one.label) for one in series), default=4)
    right = width - 20 - min(names, 24) * _BOLD
    points = [p for one in series for p in (*one.line, *((a, b) for a, b, _ in one.marks))]
    xs, ys = [a for a, _ in points] or [1.0], [b for _, b in points]
    if level is not None:
        ys.append(level[0])
    x = Axis(min(xs) * 0.92, max(xs) * 1.08, left, right, log=True)
    room = 8 + 7 * sum(one.span is not None for one in series)
    y = spanning([*ys, 0.0] if from_zero else ys, height - bottom - room + 8, top)
    if from_zero:
        y = Axis(0.0, y.high, height - bottom, top)
    shapes = [_rows(y, left, right), *_below(x, height - bottom, along, (left + right) / 2)]
    shapes.append(tag("text", unit, class_="tick", x=left + 4, y=top + 4))
    if level is not None:
        at = y(level[0])
        shapes.append(tag("line", class_="threshold", x1=left, x2=right, y1=at, y2=at))
        shapes.append(tag("text", level[1], class_="mark", x=left + 6, y=at - 5))
    ends: list[tuple[float, int]] = []
    for i, one in enumerate(series):
        path = _path([(x(a), y(b)) for a, b in one.line])
        shapes.append(tag("polyline", class_=f"line {colour(i)}", points=path))
        for a, b, title in one.marks:
            shapes.append(
                tag("circle", tag("title", title), class_=f"dot {colour(i)}", cx=x(a), cy=y(b), r=3)
            )
        if one.span is not None:
            low, high = (x(value) for value in one.span)
            at = height - bottom - 6 - 7 * i
            shapes.append(
                tag("line", class_=f"line span {colour(i)}", x1=low, x2=high, y1=at, y2=at)
            )
        final = one.line[-1] if one.line else one.marks[-1][:2] if one.marks else None
        if final is not None:
            ends.append((y(final[1]), i))
    for at, i in _apart(ends, 13, height - bottom):
        shapes.append(
            tag("text", series[i].label, class_=f"label {colour(i)}", x=right + 6, y=at + 4)
        )
    return _drawing(shapes, width, height, describe, "lines")


def _rows(y: Axis, left: float, right: float) -> Safe:
    parts = []
    for tick in y.ticks():
        at = y(tick)
        parts.append(tag("line", class_="grid", x1=left, x2=right, y1=at, y2=at))
        parts.append(tag("text", mark(tick, y), class_="tick end", x=left - 6, y=at + 3.5))
    return join(*parts)


def _below(x: Axis, floor: float, along: str, middle: float) -> list[Safe]:
    parts = [tag("line", class_="axis", x1=x.start, x2=x.end, y1=floor + 0.5, y2=floor + 0.5)]
    show: Callable[[float], str] = compact
    if x.log:
        show = lambda value: mark(value, x)  # noqa: E731
    for tick in x.ticks(6):
        at = x(tick)
        parts.append(tag("line", class_="axis", x1=at, x2=at, y1=floor, y2=floor + 4))
        parts.append(tag("text", show(tick), class_="tick mid", x=at, y=floor + 16))
    parts.append(tag("text", along, class_="tick mid", x=middle, y=floor + 32))
    return parts


def _free(axis: Axis, value: float) -> float:
    """A place on the axis' line that may lie outside of it, for what is clipped."""
    return axis.start + (value - axis.low) / (axis.high - axis.low) * (axis.end - axis.start)


def _apart(ends: list[tuple[float, int]], gap: float, floor: float) -> list[tuple[float, int]]:
    """Labels from the bottom up, moved just so far that they do not lie on each other."""
    placed: list[tuple[float, int]] = []
    last = floor + gap
    for at, i in sorted(ends, reverse=True):
        last = min(at, last - gap)
        placed.append((last, i))
    return placed


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{short(x)},{short(y)}" for x, y in points)


def _drawing(shapes: Sequence[Safe], width: float, height: float, text: str, kind: str) -> Safe:
    return tag(
        "svg",
        *shapes,
        class_=f"chart {kind}",
        viewBox=f"0 0 {short(width)} {short(height)}",
        role="img",
        aria_label=text,
    )
