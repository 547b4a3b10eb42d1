"""Time per token over the length of a sequence, drawn from the result lines of ``lightning``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Line

_METRIC = re.compile(
    r"(?P<way>forward|backward), (?P<batch>\d+) × (?P<tokens>\d+)(?P<unit>[KM]?) × (?P<heads>\d+) "
    r"heads(?:: (?P<peer>.+))?"
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
_COLOURS = ("#0b6e99", "#c2571a", "#7a4fa3", "#5f6b73", "#2f8f4e")


class Point(NamedTuple):
    """One form of one case: picoseconds for each token of each head."""

    way: str
    form: str
    tokens: int
    picoseconds: float


def points(lines: Sequence[Line]) -> list[Point]:
    """Ours, the peers' and the floor's, from the lines of one run."""
    found = []
    for line in lines:
        match = _METRIC.fullmatch(line.metric)
        if match is None or line.ratio is None:
            continue
        tokens = int(match["tokens"]) * _UNITS[match["unit"]]
        each = 1e9 / (int(match["batch"]) * tokens * int(match["heads"]))
        way = match["way"]
        if match["peer"] is None:
            found.append(Point(way, "ours", tokens, line.value * each))
            found.append(Point(way, "floor", tokens, line.value / line.ratio * each))
        else:  # calls a second of ours, and how many times those of the peer they are
            milliseconds = 1e3 / line.value * line.ratio
            found.append(Point(way, match["peer"], tokens, milliseconds * each))
    return found


def draw(lines: Sequence[Line], path: Path) -> None:
    """Write the plot: forward and backward side by side, both axes logarithmic.

    Raises:
        ValueError: when the lines have no such case.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "leyden"
    from matplotlib import pyplot as plt

    drawn = points(lines)
    if not drawn:
        raise ValueError("found no forward or backward case of lightning, expected some to draw")
    forms = list(dict.fromkeys(point.form for point in drawn if point.form != "floor"))
    figure, sides = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, facecolor="white")
    for side, way in zip(sides, ("forward", "backward"), strict=True):
        for form in [*forms, "floor"]:
            of = sorted((p.tokens, p.picoseconds) for p in drawn if (p.way, p.form) == (way, form))
            if not of:
                continue
            style = {"color": "#9aa3a8", "linestyle": "--"}
            if form != "floor":
                style = {"color": _COLOURS[forms.index(form) % len(_COLOURS)], "marker": "o"}
            side.plot(*zip(*of, strict=True), label=form, linewidth=2, markersize=5, **style)
        lengths = sorted({point.tokens for point in drawn})
        side.set(title=way, xlabel="tokens of a sequence", xscale="log", yscale="log")
        side.set_xticks(lengths, [_short(n) for n in lengths])
        side.minorticks_off()
        side.grid(color="#e3e6e8", linewidth=0.8)
        side.spines[["top", "right"]].set_visible(False)
    sides[0].set_ylabel("ps per token and head")
    sides[0].legend(frameon=False)
    machine = next((line.metric for line in lines if line.metric.startswith("machine: ")), "")
    figure.suptitle(machine.removeprefix("machine: ").split(",")[0], fontsize=11)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _short(tokens: int) -> str:
    for name, unit in (("M", 1 << 20), ("K", 1 << 10)):
        if tokens % unit == 0:
            return f"{tokens // unit}{name}"
    return str(tokens)
