"""Why an image is not used: the one list of reasons, and the exception that carries one."""

from __future__ import annotations

from types import MappingProxyType

REASONS = MappingProxyType(
    {
        "image-missing": "the document names an image that its source does not hold",
        "image-empty": "no bytes",
        "image-format": "no raster format that is read, or a variant of one that is not",
        "image-truncated": "the data ends before the image does",
        "image-corrupt": "the data is no valid image of its own format",
        "image-too-small": "a side is shorter than the limit",
        "image-too-large": "a side is longer than the limit, or there are too many bytes",
        "image-aspect": "the sides differ more than the limit allows",
        "image-bomb": "decoding would take memory or time out of proportion to the file",
        "image-frames": "more frames than the limit",
        "image-lying": "the header promises other pixels than the data holds",
    }
)
"""What ``ImageRefused.reason`` may be, and what each means."""


class ImageRefused(ValueError):
    """An image that is not used: ``reason`` is a key of ``REASONS``, ``detail`` what was found.

    Both go into the ledger: the detail is equal on every machine and holds no path.
    """

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageRefused], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
