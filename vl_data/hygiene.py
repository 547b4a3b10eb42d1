"""What is to be known of an image file before anyone uses it, or why it cannot be used.

``inspect`` decodes a file once (`vl_data.decode`) and gives its facts: size as shown, hashes,
frames, whether it is blank. Everything else about hygiene is a rule over columns.
"""

from __future__ import annotations

import blake3

from vl_data.blank import is_blank
from vl_data.decode import Decoded, decode_image
from vl_data.hashes import phash_of, pixel_hash
from vl_data.images import Facts
from vl_data.limits import Limits
from vl_data.refusals import ImageRefused

__all__ = ["Facts", "ImageRefused", "Limits", "facts_of", "inspect"]

_DEFAULT = Limits()


def inspect(data: bytes, limits: Limits = _DEFAULT) -> Facts:
    """The facts of an image file.

    Raises
    ------
    ImageRefused
        With a reason out of ``vl_data.refusals.REASONS``, if the file is no image that can be
        decoded within ``limits``.
    """
    return facts_of(data, decode_image(data, limits))


def facts_of(data: bytes, decoded: Decoded) -> Facts:
    """The facts of a file that has been decoded already."""
    shown = decoded.shown()
    return Facts(
        digest=bytes(blake3.blake3(data).digest()),
        bytes=len(data),
        format=decoded.format,
        width=shown.width,
        height=shown.height,
        pixels=pixel_hash(decoded.colour, decoded.alpha),
        phash=phash_of(shown),
        frames=decoded.frames,
        blank=is_blank(shown),
    )
