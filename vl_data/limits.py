"""What an image may be: the limits that hygiene holds it against, before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from vl_data.refusals import ImageRefused


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one image; an image on a limit is kept.

    Sides and aspect are OBELICS's (Laurençon et al. 2023, arXiv:2306.16527, appendix A), and mean
    the image as shown. The others bound what decoding costs: about 12 bytes a pixel at the most,
    so 600 MB for the largest image.

    Attributes
    ----------
    min_side, max_side: of the shorter and of the longer side, in pixels.
    max_aspect: longer side by shorter side.
    max_bytes: of the file.
    max_pixels: of one frame.
    max_frames: of an animation, or pages. Only the first is ever decoded.
    max_scans: passes over the pixels of a progressive JPEG, each of which may cost as much time as
        a whole image and next to no bytes.
    """

    min_side: int = 150
    max_side: int = 20_000
    max_aspect: float = 2.0
    max_bytes: int = 64 << 20
    max_pixels: int = 50_000_000
    max_frames: int = 1_000
    max_scans: int = 100

    def check_bytes(self, size: int) -> None:
        """Raise ``ImageRefused`` for a file of ``size`` bytes that is empty or too long."""
        if not size:
            raise ImageRefused("image-empty", "found 0 bytes")
        if size > self.max_bytes:
            raise ImageRefused(
                "image-too-large", f"found {size} bytes, expected at most {self.max_bytes}"
            )

    def check_size(self, width: int, height: int) -> None:
        """Raise ``ImageRefused`` for a size that is out of bounds; turning an image is all one."""
        shorter, longer = sorted((width, height))
        found = f"found {width} x {height} pixels"
        if width * height > self.max_pixels:
            raise ImageRefused("image-bomb", f"{found}, expected at most {self.max_pixels} in all")
        if longer > self.max_aspect * shorter:
            raise ImageRefused(
                "image-aspect", f"{found}, expected an aspect of at most {self.max_aspect:g}"
            )
        if shorter < self.min_side:
            raise ImageRefused(
                "image-too-small", f"{found}, expected sides of at least {self.min_side}"
            )
        if longer > self.max_side:
            raise ImageRefused(
                "image-too-large", f"{found}, expected sides of at most {self.max_side}"
            )

    def check_frames(self, frames: int) -> None:
        """Raise ``ImageRefused`` for too many frames."""
        if frames > self.max_frames:
            raise ImageRefused(
                "image-frames",
                f"found more than {self.max_frames} frames, expected at most {self.max_frames}",
            )


ANY_SIZE = Limits(min_side=1, max_side=1 << 20, max_aspect=float(1 << 20))
"""Nothing but what keeps decoding within bounds."""
