"""One sample by its number: the same bytes however many others are made, and by which process."""

from __future__ import annotations

import io
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import matplotlib
import matplotlib.ft2font
import PIL
from PIL import Image, features

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.errors import SynthesisError
from vl_data.synthesis.families import LARGEST_SIZE, SMALLEST_SIZE, chosen
from vl_data.synthesis.sample import Frame, Sample, Split
from vl_data.synthesis.texts import TextPool

Aspects = Literal["square", "mixed"]
ASPECTS: dict[str, tuple[tuple[int, int], ...]] = {
    "square": ((1, 1),),
    "mixed": ((1, 1), (4, 3), (3, 4), (16, 9), (9, 16), (2, 1), (1, 2)),
}
_LEVEL = 4
"""zlib's: a third of the time of the best, and hardly larger."""


@dataclass(frozen=True)
class Settings:
    """What decides all samples together with their numbers.

    Attributes
    ----------
    seed : int
    size : int
        The images' longer side, 56 … 1344 pixels.
    families : tuple of str, optional
        Names; None: all that can be read at this size. Samples go through them in turn.
    split : ``train`` or ``heldout``
        Which layouts: the two have none in common, and no draws either.
    aspects : ``square`` or ``mixed``
        Of the images; ``mixed``: seven from 1:2 to 2:1.

    Raises
    ------
    SynthesisError
        If the size, the split, the aspects or a family is none that can be made.
    """

    seed: int = 0
    size: int = 336
    families: tuple[str, ...] | None = None
    split: Split = "train"
    aspects: Aspects = "square"

    def __post_init__(self) -> None:
        if not SMALLEST_SIZE <= self.size <= LARGEST_SIZE:
            raise SynthesisError(
                f"size: found {self.size}, expected {SMALLEST_SIZE} to {LARGEST_SIZE} pixels"
            )
        if self.split not in ("train", "heldout"):
            raise SynthesisError(f"split: found {self.split!r}, expected train or heldout")
        if self.aspects not in ASPECTS:
            raise SynthesisError(
                f"aspects: found {self.aspects!r}, expected {' or '.join(ASPECTS)}"
            )
        if self.shortest < SMALLEST_SIZE:
            raise SynthesisError(
                f"size: found {self.size} with aspects {self.aspects!r}, whose shortest side is "
                f"{self.shortest} pixels, expected at least {SMALLEST_SIZE}"
            )
        chosen(self.families, self.shortest)

    @property
    def shortest(self) -> int:
        """The shortest side of any image, pixels."""
        return min(min(_scaled(self.size, shape)) for shape in ASPECTS[self.aspects])


def _scaled(size: int, shape: tuple[int, int]) -> tuple[int, int]:
    longer = max(shape)
    return size * shape[0] // longer, size * shape[1] // longer


def synthesise(number: int, settings: Settings, texts: TextPool) -> Sample:
    """The sample of a number.

    Parameters
    ----------
    number : int
        From 0 on; with the seed, it is the sample's identity.
    texts : TextPool
        Words for the pictures of text; an empty pool has a small list of its own.

    Notes
    -----
    What is drawn comes from hashes and is the same everywhere. Pixels and PNG bytes also hang on
    what `versions` names.
    """
    families = chosen(settings.families, settings.shortest)
    family = families[number % len(families)]
    draws = Draws(settings.seed, settings.split, family.name, number)
    layout = draws.pick(family.layouts.of(settings.split))
    width, height = _scaled(settings.size, draws.pick(ASPECTS[settings.aspects]))
    made = family.make(draws, Frame(width, height, layout, texts))
    return Sample(
        image=_png(made.image),
        width=width,
        height=height,
        turns=tuple((turn.question, turn.answer) for turn in made.turns),
        asked=tuple(turn.asked for turn in made.turns),
        family=family.name,
        layout=layout,
        description=made.description,
        truth=made.truth,
    )


def synthesise_many(
    count: int, settings: Settings, documents: Iterable[tuple[str, str]] = ()
) -> Iterator[Sample]:
    """The first ``count`` samples, one after another.

    Parameters
    ----------
    documents : iterable of (id, text)
        Where the words in pictures come from.
    """
    texts = TextPool(documents)
    for number in range(count):
        yield synthesise(number, settings, texts)


def versions() -> dict[str, str]:
    """What decides bytes besides the settings: the libraries that draw, and their own.

    With equal versions, samples are equal byte by byte; with others, the questions, answers and
    boxes still are, except that a box of text follows the font's hinting.
    """
    return {
        "pillow": PIL.__version__,
        "pillow_freetype": str(features.version("freetype2")),
        "pillow_zlib": str(features.version("zlib")),
        "matplotlib": matplotlib.__version__,
        "matplotlib_freetype": matplotlib.ft2font.__freetype_version__,
        "machine": platform.machine(),
    }


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_LEVEL)
    return buffer.getvalue()
