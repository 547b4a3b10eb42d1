"""From the bytes of an image to a ``Picture``, under the limits that its source sets."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable

from PIL import Image

from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Picture, SourceSpec
from vl_data.formats import sniff
from vl_data.hygiene import inspect
from vl_data.images import FOREIGN_MARK, MARK
from vl_data.limits import Limits
from vl_data.refusals import ImageRefused


class ImageRefusal(Refusal):
    """One image of several cannot be used; ``ref`` is its source-relative name or its address."""

    def __init__(self, ref: str, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.ref = ref


RECORD_PIXELS = 20
"""What is decoded for one record at most, in images of ``max_pixels``."""


class Budget:
    """What the images of one record may cost: bytes that are held, and pixels that are decoded."""

    def __init__(self, spec: SourceSpec) -> None:
        self._max_bytes = spec.limits.max_record_bytes
        self._max_pixels = RECORD_PIXELS * spec.images.max_pixels
        self._bytes = self._pixels = 0

    def spend(self, data: bytes, size: tuple[int, int] | None) -> None:
        """Count an image before it is decoded; ``size`` is what its header says.

        Raises
        ------
        Refusal
            ``work-budget``; the image is not counted then.
        """
        width, height = size or (0, 0)
        total, pixels = self._bytes + len(data), self._pixels + width * height
        if total > self._max_bytes:
            raise Refusal("work-budget", f"the record's images have over {self._max_bytes} bytes")
        if pixels > self._max_pixels:
            raise Refusal("work-budget", f"the record's images have over {self._max_pixels} pixels")
        self._bytes, self._pixels = total, pixels


def picture_of(
    data: bytes, limits: Limits, ref: str, alt: str | None = None, caption: str | None = None
) -> Picture:
    """The image whose bytes are ``data``, decoded once.

    Raises
    ------
    Refusal
        With a reason of ``vl_data.refusals.REASONS``.
    """
    try:
        return Picture(data, inspect(data, limits), ref, alt, caption)
    except ImageRefused as refused:
        raise Refusal(refused.reason, refused.detail) from None


def pictures_of(found: Iterable[tuple[bytes, str]], spec: SourceSpec) -> list[Picture]:
    """The images of a record that needs them all: (data, ref) each.

    Raises
    ------
    Refusal
        As ``picture_of``, or ``work-budget``.
    """
    budget = Budget(spec)
    pictures = []
    for data, ref in found:
        budget.spend(data, header_size(data))
        try:
            pictures.append(picture_of(data, spec.images, ref))
        except Refusal as refusal:
            raise Refusal(refusal.reason, f"{ref}: {refusal.detail}") from None
    return pictures


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the header of an image gives; None where it cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes and metadata: hygiene looks at the former
        try:
            with Image.open(io.BytesIO(data), formats=[sniff(data).decoder]) as image:
                return image.size
        except Exception:  # noqa: BLE001 (decoders raise many classes; hygiene says what is wrong)
            return None


def unmarked(text: str) -> str:
    """``text`` with marks of its own replaced, so that only images are marked."""
    return text.replace(MARK, FOREIGN_MARK)
