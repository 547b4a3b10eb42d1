"""Named colours: what a name may look like, and what it can stand on."""

from __future__ import annotations

from vl_data.synthesis.draws import Draws

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (214, 32, 32),
    "orange": (245, 138, 16),
    "yellow": (245, 218, 40),
    "green": (40, 150, 60),
    "blue": (40, 84, 214),
    "purple": (130, 50, 170),
    "pink": (246, 130, 180),
    "brown": (120, 72, 36),
}
"""The colours asked for; each keeps its name when every channel moves by `_SPREAD`."""

BACKGROUNDS: dict[str, RGB] = {
    "white": (255, 255, 255),
    "light grey": (222, 222, 222),
    "dark grey": (44, 46, 50),
    "black": (8, 8, 10),
}
"""None is near a colour of `COLOURS`, so that every colour is as likely on each."""

INKS: tuple[tuple[RGB, RGB], ...] = (
    ((20, 20, 20), (255, 255, 255)),
    ((30, 40, 90), (250, 246, 232)),
    ((70, 30, 20), (240, 232, 214)),
    ((10, 60, 40), (226, 240, 230)),
    ((240, 240, 240), (34, 38, 46)),
    ((250, 220, 120), (30, 50, 40)),
    ((255, 255, 255), (150, 30, 40)),
    ((60, 60, 60), (232, 232, 232)),
)
"""Text and paper, of enough contrast to be read through the noises."""

_SPREAD = 9
_CLEAR = 45


def shade(draws: Draws, colour: str) -> RGB:
    """A shade that the name still fits."""
    red, green, blue = (
        max(0, min(255, channel + draws.between(-_SPREAD, _SPREAD))) for channel in COLOURS[colour]
    )
    return red, green, blue


def seen_on(paper: RGB) -> list[str]:
    """The colours of which a thin line can be seen on a paper."""
    return [name for name, rgb in COLOURS.items() if abs(_luma(rgb) - _luma(paper)) >= _CLEAR]


def _luma(colour: RGB) -> int:
    """Brightness, 0 … 255 (Rec. 601 weights, in whole numbers)."""
    red, green, blue = colour
    return (299 * red + 587 * green + 114 * blue) // 1000
