"""Images as an endpoint gets them: decoded by the one decoder, made small, sent as a data URI.

Original bytes are never sent: they may be of a format that the server does not know, and their
metadata are nobody's business.
"""

from __future__ import annotations

import base64
import io

from PIL import Image as Pillow

from quality.endpoint.failures import Unusable
from quality.endpoint.questions import Image
from vl_data.decode import decode_image
from vl_data.labels.errors import LabelError
from vl_data.labels.items import Picture
from vl_data.refusals import ImageRefused

DEFAULT_SIDE = 1344
"""Pixels of the longer side: four tiles of 336."""
_QUALITY = 90


def image_of(picture: Picture, side: int) -> Image:
    """The image of a message, at most ``side`` pixels long and high."""
    if side < 16:
        raise LabelError(f"image side: found {side} pixels, expected 16 or more")
    identity = f"{picture.digest.hex()} jpeg{_QUALITY} {side}"
    return Image(identity, lambda: data_uri(picture.read(), side))


def data_uri(data: bytes, side: int) -> str:
    """An image file as a ``data:image/jpeg`` URI, scaled down to ``side``, never up.

    Raises
    ------
    Unusable
        If it cannot be decoded.
    """
    try:
        shown = decode_image(data).shown()
    except ImageRefused as refused:
        raise Unusable(str(refused)) from refused
    shown.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    shown.save(out, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
