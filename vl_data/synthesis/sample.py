"""What one synthesised sample is, and what a family is asked to make it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from PIL import Image

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.texts import TextPool

Split = Literal["train", "heldout"]


class Asked(NamedTuple):
    """What was asked: the question's kind (``count``), and its prompt type (``choice``)."""

    kind: str
    prompt: str


class Turn(NamedTuple):
    """A question with its answer."""

    question: str
    answer: str
    asked: Asked


@dataclass(frozen=True)
class Frame:
    """What a family draws into.

    Attributes
    ----------
    width, height : int
        Of the image, pixels.
    layout : str
        One of the family's.
    texts : TextPool
        Where words come from.
    """

    width: int
    height: int
    layout: str
    texts: TextPool

    @property
    def side(self) -> int:
        """The shorter side, pixels."""
        return min(self.width, self.height)


@dataclass(frozen=True)
class Made:
    """What a family gives back: pixels, what was asked of them, and what is true of them.

    Attributes
    ----------
    image : PIL.Image.Image
        RGB, of the frame's size.
    turns : list of Turn
        At least one.
    description : str
        What is to be seen, in sentences.
    truth : dict
        What was drawn, as JSON can hold it: values, words, boxes in pixels
        ``[left, top, right, bottom]`` (right and bottom outside).
    """

    image: Image.Image
    turns: list[Turn]
    description: str
    truth: dict[str, Any]


@dataclass(frozen=True)
class Layouts:
    """A family's ways to arrange things; those for held-out evaluation never occur in training."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        """The layouts of a split."""
        return self.train if split == "train" else self.heldout


@dataclass(frozen=True)
class Family:
    """One kind of synthesised image.

    Attributes
    ----------
    make : callable
        From draws and a frame to pixels and questions.
    smallest : int
        The shortest side (pixels) that its questions can be read at.
    """

    name: str
    make: Callable[[Draws, Frame], Made]
    layouts: Layouts
    smallest: int = 56


@dataclass(frozen=True)
class Sample:
    """An image with questions whose answers are exactly known.

    Attributes
    ----------
    image : bytes
        A PNG, RGB.
    width, height : int
        Pixels.
    turns : tuple of (question, answer)
        One conversation; the image belongs to its first question.
    asked : tuple of Asked
        Kind and prompt type of each turn.
    family, layout : str
        What made it. A layout belongs to one split alone.
    description : str
        What is to be seen, in sentences, without a question.
    truth : mapping
        See `Made.truth`.
    """

    image: bytes
    width: int
    height: int
    turns: tuple[tuple[str, str], ...]
    asked: tuple[Asked, ...]
    family: str
    layout: str
    description: str
    truth: Mapping[str, Any] = field(default_factory=dict)
