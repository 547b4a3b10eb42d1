"""A matplotlib figure that looks alike everywhere: Agg, own settings, fonts by their files.

A person's ``matplotlibrc``, installed fonts and styles have no part in it. What decides the pixels
is matplotlib with the FreeType inside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from PIL import Image

from vl_data.synthesis.colours import RGB
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.fonts import font_file
from vl_data.synthesis.sample import Frame

LABELLED_SIDE = 160
"""From this shorter side (pixels) on, charts have axes and text; below, colours alone."""

_DPI = 100
_FACES = ("dejavu-sans", "dejavu-serif", "dejavu-mono", "stix")
_PAPERS: tuple[tuple[RGB, RGB], ...] = (
    ((255, 255, 255), (20, 20, 20)),
    ((246, 244, 236), (40, 34, 30)),
    ((236, 240, 246), (20, 30, 50)),
    ((24, 26, 32), (236, 236, 236)),
)


def rgba(colour: RGB) -> tuple[float, float, float]:
    """A colour as matplotlib takes it."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


@dataclass
class Chart:
    """A figure with one pair of axes.

    Attributes
    ----------
    axes : matplotlib.axes.Axes
    ink, paper : (r, g, b)
    labelled : bool
        Whether there is room for text.
    em : float
        Size of text, pixels.
    """

    figure: Figure
    axes: Axes
    ink: RGB
    paper: RGB
    labelled: bool
    em: float
    face: str
    placed: bool = False
    """Whether the chart has placed its axes so that all text is inside the figure."""

    def image(self, frame: Frame) -> Image.Image:
        """RGB pixels, of the frame's size."""
        canvas = FigureCanvasAgg(self.figure)
        font = FontProperties(fname=str(font_file(self.face)), size=self.em * 72 / _DPI)
        # Each text's own: a family's name is looked up among the fonts of the machine.
        for text in self.figure.findobj(Text):
            text.set_fontproperties(font)
            text.set_color(rgba(self.ink))
        if self.labelled and not self.placed:
            self.figure.tight_layout(pad=0.4)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]  # type: ignore[no-untyped-call]
        return Image.fromarray(np.ascontiguousarray(pixels)).crop((0, 0, frame.width, frame.height))


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's defaults for a while. Its settings are of the process: not for threads."""
    with style.context("default"):
        yield


def new_chart(draws: Draws, frame: Frame) -> Chart:
    """An empty chart of the frame's size."""
    paper, ink = draws.pick(_PAPERS)
    # A hair more than whole pixels, which are cut to the frame: 0.56 inches at 100 are 55 pixels.
    figure = Figure(
        figsize=((frame.width + 0.5) / _DPI, (frame.height + 0.5) / _DPI),
        dpi=_DPI,
        facecolor=rgba(paper),
    )
    axes = figure.add_subplot()
    axes.set_facecolor(rgba(paper))
    for spine in axes.spines.values():
        spine.set_color(rgba(ink))
    axes.tick_params(color=rgba(ink))
    labelled = frame.side >= LABELLED_SIDE
    if not labelled:
        axes.set_xticks([])
        axes.set_yticks([])
        figure.subplots_adjust(left=0.06, right=0.94, bottom=0.06, top=0.94)
    em = max(8.5, frame.side / 30) * draws.uniform(0.95, 1.15)
    return Chart(figure, axes, ink, paper, labelled, em, draws.pick(_FACES))
