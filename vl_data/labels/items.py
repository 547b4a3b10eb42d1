"""What is labelled: images with or without a caption, and instruction pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blake3 import blake3

_PAIR_DOMAIN = b"leyden.pair.1\0"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image by the BLAKE3 of its original bytes (32 bytes); ``read`` gives those bytes."""

    digest: bytes
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Captionable:
    """An image to caption, with the caption that its source has. ``id`` names it to people."""

    id: str
    picture: Picture
    caption: str | None = None

    def caption_digest(self) -> bytes | None:
        """BLAKE3 (32 bytes) of the source's caption in UTF-8; None where there is none."""
        return None if self.caption is None else blake3(self.caption.encode()).digest()


@dataclass(frozen=True, slots=True)
class Pair:
    """An instruction and its answer, with the images that it speaks of."""

    id: str
    instruction: str
    answer: str
    pictures: tuple[Picture, ...] = ()

    def digest(self) -> bytes:
        """``pair_digest`` of it."""
        images = [picture.digest for picture in self.pictures]
        return pair_digest(self.instruction, self.answer, images)


def pair_digest(instruction: str, answer: str, images: Sequence[bytes] = ()) -> bytes:
    """What names the content of an instruction pair: 32 bytes of BLAKE3.

    It covers the digests of the images in their order, and both texts in UTF-8, behind their
    number and length.
    """
    asked = instruction.encode()
    head = b"%d;%d;" % (len(images), len(asked))
    return blake3(b"".join((_PAIR_DOMAIN, head, *images, asked, answer.encode()))).digest()
