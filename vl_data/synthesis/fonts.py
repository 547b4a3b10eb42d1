"""The fonts that text is set in: those inside the matplotlib package, and Pillow's own.

Nothing is looked up on the machine: a font of the system would give other pixels elsewhere. Text is
laid out by FreeType alone (`ImageFont.Layout.BASIC`), which kerns but does not shape: scripts that
need shaping (Arabic, Devanagari …) are left out of `REPERTOIRES`.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

from PIL import ImageFont

FONTS: dict[str, str] = {
    "dejavu-sans": "DejaVuSans.ttf",
    "dejavu-sans-bold": "DejaVuSans-Bold.ttf",
    "dejavu-sans-oblique": "DejaVuSans-Oblique.ttf",
    "dejavu-serif": "DejaVuSerif.ttf",
    "dejavu-serif-bold": "DejaVuSerif-Bold.ttf",
    "dejavu-serif-italic": "DejaVuSerif-Italic.ttf",
    "dejavu-mono": "DejaVuSansMono.ttf",
    "dejavu-mono-bold": "DejaVuSansMono-Bold.ttf",
    "stix": "STIXGeneral.ttf",
    "stix-bold": "STIXGeneralBol.ttf",
    "stix-italic": "STIXGeneralItalic.ttf",
    "computer-modern": "cmr10.ttf",
    "computer-modern-sans": "cmss10.ttf",
    "computer-modern-mono": "cmtt10.ttf",
    "computer-modern-bold": "cmb10.ttf",
    "aileron": "",
}
"""Name to file of ``matplotlib/mpl-data/fonts/ttf``; "" is the font inside Pillow."""

PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?()-")
"""What every font draws. Computer Modern has other glyphs in the places of ``< > " _``."""

_NARROW = frozenset(("aileron", *(name for name in FONTS if name.startswith("computer-modern"))))
WIDE_FONTS = tuple(name for name in FONTS if name not in _NARROW)
"""The fonts that draw all of `wide`."""

_WIDE_RANGES = (
    (0x21, 0x7E),  # ASCII
    (0xA1, 0x17F),  # Latin-1, Latin Extended-A
    (0x391, 0x3C9),  # Greek
    (0x401, 0x45F),  # Cyrillic
    (0x2010, 0x2022),  # dashes, quotation marks, daggers, bullet
    (0x20AC, 0x20AC),  # euro
)
_INVISIBLE = frozenset(("Cf", "Cc", "Mn", "Me", "Zs", "Zl", "Zp", "Cn"))


@cache
def font_file(name: str) -> Path:
    """Where matplotlib keeps a font of `FONTS`."""
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf", FONTS[name])


@cache
def wide() -> frozenset[str]:
    """The characters that all of `WIDE_FONTS` draw: Latin, Greek, Cyrillic, punctuation."""
    from matplotlib.ft2font import FT2Font

    shared = {
        chr(code)
        for low, high in _WIDE_RANGES
        for code in range(low, high + 1)
        if unicodedata.category(chr(code)) not in _INVISIBLE
    }
    for name in WIDE_FONTS:
        covered = FT2Font(str(font_file(name))).get_charmap()
        shared = {character for character in shared if ord(character) in covered}
    return frozenset(shared)


@cache
def font(name: str, pixels: int) -> ImageFont.FreeTypeFont:
    """A font whose em is ``pixels`` high."""
    if not FONTS[name]:
        found = ImageFont.load_default(pixels)
        if not isinstance(found, ImageFont.FreeTypeFont):
            raise RuntimeError(
                "Pillow was built without FreeType: found its bitmap font alone, expected a "
                "scalable one; install the Pillow wheel of PyPI"
            )
        return found.font_variant(layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.truetype(font_file(name), pixels, layout_engine=ImageFont.Layout.BASIC)


def drawing_fonts(text: str) -> tuple[str, ...]:
    """Names of the fonts that draw every character of a text (blanks aside); maybe none."""
    characters = set(text) - {" ", "\n"}
    if characters <= PLAIN:
        return tuple(FONTS)
    return WIDE_FONTS if characters <= wide() else ()
