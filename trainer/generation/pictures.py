"""Images from files, as a model is shown them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer.data.pictures import Picture
from trainer.generation.errors import GenerationError
from trainer.vision.recipe import VisionRecipe
from vl_data.decode import decode
from vl_data.pixels import tile_bytes
from vl_data.refusals import ImageRefused
from vl_data.tiling import plan, tiling_of

READERS = 8
"""Files read, decoded and tiled at once: Pillow and NumPy let go of the interpreter."""


def read_picture(path: Path, tiling: str, where: str = "") -> Picture:
    """An image as a tiling lays it out.

    Args:
        where: what named it, to begin an error with.

    Raises:
        GenerationError: the file cannot be read, or what is in it cannot be decoded.
    """
    begin = f"{where}: " if where else ""
    try:
        rgb = decode(path.read_bytes())
    except OSError as error:
        raise GenerationError(
            f"{begin}found no image to read at {path} ({error.strerror}), expected a file"
        ) from error
    except ImageRefused as error:
        raise GenerationError(
            f"{begin}{path}: {error.reason}, {error.detail}; give an image that decodes"
        ) from error
    laid = plan(rgb.shape[1], rgb.shape[0], tiling)
    return Picture(laid, tile_bytes(rgb, laid, tiling))


def read_pictures(paths: Iterable[Path], tiling: str) -> list[Picture]:
    """Several at once, in their order; raises as :func:`read_picture`."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda path: read_picture(path, tiling), paths))


def tokens_of(pictures: Sequence[Picture]) -> list[int]:
    """Places that each takes in a sequence."""
    return [picture.plan.tokens for picture in pictures]


def fitting_tiling(vision: VisionRecipe, asked: str | None, trained: str | None) -> str:
    """The tiling to show images by: the one asked for, or the last stage's, or the recipe's.

    Raises:
        GenerationError: there is none of that name, or it has other tiles than the tower.
    """
    name = asked or trained or vision.tiling
    try:
        tiling = tiling_of(name)
    except ValueError as error:
        raise GenerationError(f"--tiling: {str(error).removeprefix('tiling: ')}") from None
    if (tiling.tile, tiling.patch) != (vision.tile, vision.patch):
        raise GenerationError(
            f"--tiling: found {name} with tiles of {tiling.tile} pixels and patches of "
            f"{tiling.patch}, expected {vision.tile} and {vision.patch} as the model's tower has"
        )
    return name
