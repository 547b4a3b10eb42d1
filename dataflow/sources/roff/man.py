"""The man macros, and the requests that pages of both kinds use."""

from __future__ import annotations

from collections.abc import Iterator

from dataflow.sources.roff.escapes import render
from dataflow.sources.roff.lines import Line
from dataflow.sources.roff.page import Page
from dataflow.sources.roff.tables import rows

_FONTS = frozenset({"B", "I", "SM", "SB", "R", "CW"})
_ALTERNATING = frozenset({"BI", "BR", "IB", "IR", "RB", "RI"})
_PARAGRAPHS = frozenset({"PP", "LP", "P"})
_BULLET = 2
"""Tags up to this length stand before the text of their paragraph, not above it."""
_DRAWINGS = {"PS": "PE", "EQ": "EN", "GS": "GE"}


def render_page(page: Page, lines: Iterator[Line], title: Line) -> None:
    """Render a page of man macros from behind its ``.TH``."""
    words = [render(a) for a in title.arguments()]
    if words:
        section = f"({words[1]})" if len(words) > 1 and words[1] else ""
        page.add(words[0] + section)
        page.gap()
    for line in lines:
        if not macro(page, lines, line):
            common(page, lines, line)


def macro(page: Page, lines: Iterator[Line], line: Line) -> bool:
    """Render a man macro; False for anything else."""
    name = line.request
    if name in ("SH", "SS"):
        text = " ".join(line.arguments()) or _next_text(lines)
        page.heading(render(text), inner=name == "SS")
    elif name in _PARAGRAPHS:
        page.gap()
        page.hanging = False
    elif name in ("TP", "TQ"):
        page.gap() if name == "TP" else page.end_line()
        page.hanging = False
        _tag(page, lines)
    elif name in ("IP", "HP"):
        page.gap()
        page.hanging = False
        tag = render(line.arguments()[0]).strip() if name == "IP" and line.arguments() else ""
        if tag:
            page.add(tag)
        if len(tag) > _BULLET:
            page.end_line()
        page.hanging = name == "IP" and not 0 < len(tag) <= _BULLET
    elif name == "RS":
        page.end_line()
        page.level += 1 + page.hanging
        page.hanging = False
    elif name == "RE":
        page.end_line()
        page.level = max(page.level - 1, 0)
        page.hanging = False
    elif name in _FONTS:
        page.add(render(" ".join(line.arguments()) or _next_text(lines)))
    elif name in _ALTERNATING:
        page.add(render("".join(line.arguments())))
    elif name == "OP":
        page.add("[" + render(" ".join(line.arguments())) + "]")
    elif name in ("UR", "MT"):
        page.add(render("".join(line.arguments()[:1])))
    elif name == "MR":
        words = [*line.arguments(), "", ""]
        page.add(render(f"{words[0]}({words[1]}){words[2]}"))
    elif name == "SY":
        page.end_line()
        page.add(render(" ".join(line.arguments())))
    elif name in ("YS", "UE", "ME"):
        page.add(render("".join(line.arguments())), joined=True)
    else:
        return False
    return True


def _next_text(lines: Iterator[Line]) -> str:
    line = next(lines, None)
    if line is None:
        return ""
    return " ".join(line.arguments()) if line.request else line.rest


def _tag(page: Page, lines: Iterator[Line]) -> None:
    """The line after ``.TP`` is the tag of the paragraph that follows."""
    for line in lines:
        if line.request in ("PD", "TQ", "nh", "ad", "na", "hy", "ns", "ne"):
            continue
        if not macro(page, lines, line):
            common(page, lines, line)
        break
    page.end_line()
    page.hanging = True


def common(page: Page, lines: Iterator[Line], line: Line) -> bool:
    """Render a line of text or a request of roff itself; False for what is passed over."""
    name = line.request
    if not name:
        joins = line.rest.endswith("\\c")
        if not line.rest.strip() and page.filled:
            page.gap()
        else:
            page.add(render(line.rest))
            if not joins and not page.filled:
                page.end_line()
    elif name in ("nf", "EX", "Vb"):
        page.end_line()
        page.filled = False
    elif name in ("fi", "EE", "Ve"):
        page.filled = True
    elif name in ("sp", "Sp"):
        page.gap()
    elif name in ("br", "ti", "in", "ce", "bp"):
        page.end_line()
    elif name == "TS":
        page.gap()
        filled, page.filled = page.filled, False
        for row in rows(lines):
            page.add(row)
        page.filled = filled
        page.gap()
    elif name in _DRAWINGS:
        for skipped in lines:
            if skipped.request == _DRAWINGS[name]:
                break
    else:
        return False
    return True
