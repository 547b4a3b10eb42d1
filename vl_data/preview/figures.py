"""An image as the model gets it: the canvas that its tiles cover, and its thumbnail, drawn."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vl_data.decode import decode
from vl_data.pixels import tile_bytes
from vl_data.preview.markup import Markup, element
from vl_data.preview.sample import Stored
from vl_data.refusals import ImageRefused
from vl_data.tiling import Plan, Tiling, plan, tiling_of

MOST_SIDE = 1008
"""Pixels of the longer side of a canvas on the page; a larger one is scaled down."""
_EXACT_SIDE = 448
"""Canvases up to this are shown pixel by pixel, larger ones as JPEG."""

U8 = NDArray[np.uint8]


class PictureDiffers(ValueError):
    """A stored image cannot be read, or is not of the size that the index says."""


def planned(image: Stored, tiling: str) -> Plan:
    """How an image is tiled, by the size that the index says."""
    return plan(image.width, image.height, tiling)


def figure(image: Stored, laid: Plan, number: int) -> Markup:
    """Canvas, tile boxes and thumbnail of an image, with what it costs.

    Raises
    ------
    PictureDiffers
        If the stored bytes are no image of the planned size.
    """
    try:
        rgb = decode(image.data)
    except ImageRefused as refused:
        raise PictureDiffers(f"image {number}: found {refused.reason}: {refused.detail}") from None
    height, width = rgb.shape[:2]
    if (width, height) != (image.width, image.height):
        raise PictureDiffers(
            f"image {number}: found {width} × {height} pixels, expected {image.width} × "
            f"{image.height} as the index says"
        )
    tiling = tiling_of(laid.tiling)
    tiles = tile_bytes(rgb, laid)
    shown = [_thumbnail(tiles[0], tiling)]
    if laid.rows:
        shown.insert(0, _canvas(_joined(tiles[1:], laid), laid, tiling))
    return element(
        "figure",
        element("div", *shown, class_="shown"),
        element("figcaption", *_caption(image, laid, number)),
    )


def _joined(tiles: U8, laid: Plan) -> U8:
    """The canvas out of the very tiles that the model gets."""
    side = tiles.shape[1]
    rows = tiles.reshape(laid.rows, laid.columns, side, side, 3).swapaxes(1, 2)
    return rows.reshape(laid.rows * side, laid.columns * side, 3)


def _canvas(pixels: U8, laid: Plan, tiling: Tiling) -> Markup:
    height, width = pixels.shape[:2]
    tile, patch = tiling.tile, tiling.patch
    parts = [_picture(pixels, width, height)]
    top, left = laid.feature_top * patch, laid.feature_left * patch
    # What is dropped lies in two bands, above and below or left and right.
    bands = [(0, 0, width, top), (0, height - top, width, top)] if top else []
    bands += [(0, 0, left, height), (width - left, 0, left, height)] if left else []
    parts += [element("rect", x=x, y=y, width=w, height=h, class_="dropped")
              for x, y, w, h in bands]  # fmt: skip
    size = max(width, height) * 0.042
    for row in range(laid.rows):
        for column in range(laid.columns):
            x, y = column * tile, row * tile
            parts.append(element("rect", x=x, y=y, width=tile, height=tile, class_="tile"))
            parts.append(
                element(
                    "text",
                    row * laid.columns + column + 1,
                    x=x + size * 0.4,
                    y=y + size * 1.2,
                    font_size=size,
                )
            )
    about = f"{laid.columns} by {laid.rows} tiles"
    return _svg(parts, width, height, about, "canvas")


def _thumbnail(pixels: U8, tiling: Tiling) -> Markup:
    side = tiling.tile
    parts = [
        _picture(pixels, side, side),
        element("rect", x=0, y=0, width=side, height=side, class_="tile"),
    ]
    return _svg(parts, side, side, "thumbnail", "thumbnail")


def _svg(parts: list[Markup], width: int, height: int, about: str, kind: str) -> Markup:
    return element(
        "svg",
        element("title", about),
        *parts,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_=kind,
        role="img",
        preserveAspectRatio="xMinYMin",
    )


def _picture(pixels: U8, width: int, height: int) -> Markup:
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    if max(image.size) <= _EXACT_SIDE:
        image.save(out, "PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
        image.save(out, "JPEG", quality=86)
        kind = "jpeg"
    data = base64.b64encode(out.getvalue()).decode()
    exact = kind == "png" and max(image.size) < 150
    return element(
        "image",
        href=f"data:image/{kind};base64,{data}",
        width=width,
        height=height,
        class_="exact" if exact else None,
    )


def _caption(image: Stored, laid: Plan, number: int) -> list[Markup | str]:
    thumbnail = laid.thumbnail_features
    found: list[Markup | str] = [
        element("b", f"Image {number}"),
        f" {image.width:,} × {image.height:,} pixels",
    ]
    if laid.rows:
        resized = laid.resized
        found += [
            f" → {resized.right - resized.left:,} × {resized.bottom - resized.top:,} on "
            f"{laid.columns} × {laid.rows} tiles. Features: {thumbnail:,} of the thumbnail + "
            f"{laid.feature_rows} rows × ({laid.feature_columns} + 1 newline) = ",
        ]
    else:
        found.append(" squeezed into one tile. Features: ")
    return [*found, element("b", f"{laid.tokens:,} tokens")]
