"""A contact sheet: samples side by side, each with what is asked and answered under it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw

from vl_data.synthesis.fonts import font
from vl_data.synthesis.sample import Sample

_EM = 12
_CELL = 260
_LINES = 13
_EDGE = 8


def contact_sheet(samples: Sequence[Sample], columns: int = 6, cell: int = _CELL) -> bytes:
    """A PNG of the samples in reading order.

    Parameters
    ----------
    cell : int
        Pixels of a picture's side on the sheet. A smaller picture is enlarged by a whole factor,
        a larger one made to fit.
    """
    if not samples:
        raise ValueError("found no samples, expected at least one to show")
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    wide, high = cell + 2 * _EDGE, cell + 2 * _EDGE + _LINES * (_EM + 3)
    sheet = Image.new("RGB", (columns * wide, rows * high), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    face = font("dejavu-sans", _EM)
    across = cell // 7
    for i, sample in enumerate(samples):
        x, y = i % columns * wide + _EDGE, i // columns * high + _EDGE
        picture = _fitted(Image.open(io.BytesIO(sample.image)).convert("RGB"), cell)
        sheet.paste(picture, (x, y))
        draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=(150,) * 3)
        lines = [f"{sample.family} / {sample.layout}  {sample.width}×{sample.height}"]
        for question, answer in sample.turns:
            lines += _wrapped(f"Q {question}", across) + _wrapped(f"A {answer}", across)
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], "…"]
        for row, line in enumerate(lines):
            colour = (20, 60, 160) if row == 0 else (20, 20, 20)
            draw.text((x, y + cell + 4 + row * (_EM + 3)), line, fill=colour, font=face)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _wrapped(text: str, across: int) -> list[str]:
    return [part for line in text.split("\n") for part in textwrap.wrap(line, across) or [""]]


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    times = cell // max(picture.size)
    if times >= 1:
        size = (picture.width * times, picture.height * times)
        return picture.resize(size, Image.Resampling.NEAREST)
    picture.thumbnail((cell, cell))
    return picture
