"""Grounding: from a thing to its box, and from a box to the thing in it."""

from __future__ import annotations

from vl_data.synthesis.boxes import HOW, box_text, moved
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.phrasings import Question, ask
from vl_data.synthesis.sample import Family, Frame, Layouts, Made
from vl_data.synthesis.things import described, different, picture, place

_LOCATE = Question(
    "locate",
    (
        "Where is the {thing}? {how}",
        "What is the box of the {thing}? {how}",
        "In which box lies the {thing}? {how}",
    ),
    (
        "Give the bounding box of the {thing}. {how}",
        "Locate the {thing}. {how}",
        "Find the {thing} and answer with its box. {how}",
    ),
    ("The {thing} is at {answer}. {how}", "The bounding box of the {thing} is {answer}. {how}"),
)
_IDENTIFY = Question(
    "identify",
    (
        "What is inside the box {box}? {how}",
        "Which thing is at {box}? {how}",
    ),
    (
        "Name the thing at {box}, colour first. {how}",
        "Say what the box {box} holds. {how}",
    ),
    ("The box {box} holds the {answer}. {how}", "At {box} there is the {answer}. {how}"),
)


def make(draws: Draws, frame: Frame) -> Made:
    """One to five different things with exact boxes."""
    count = draws.between(1, 3 if frame.layout == "ring" and frame.side < 80 else 5)
    items = place(draws, frame, frame.layout, different(draws, frame, count))
    image, background = picture(draws, frame, items)
    texts = {item.name: box_text(item.box, frame.width, frame.height) for item in items}
    found, other = draws.pick(items), draws.pick(items)
    wrong = [text for name, text in texts.items() if name != found.name]
    wrong += [
        box_text(moved(draws, found.box, frame.width, frame.height), frame.width, frame.height)
        for _ in range(3)
    ]
    turns = [
        ask(draws, _LOCATE, texts[found.name], wrong, thing=found.name, how=HOW),
        ask(
            draws, _IDENTIFY, other.name,
            [*(item.name for item in items), *(_unseen(draws, frame, other.name) for _ in "12")],
            box=texts[other.name], how=HOW,
        ),
    ]  # fmt: skip
    truth = {"items": [item.truth() for item in items]}
    return Made(image, draws.shuffled(turns), described(items, background), truth)


def _unseen(draws: Draws, frame: Frame, name: str) -> str:
    """Another thing's name."""
    while True:
        ((shape, colour),) = different(draws, frame, 1)
        if f"{colour} {shape}" != name:
            return f"{colour} {shape}"


FAMILY = Family("grounding", make, Layouts(("scatter", "rows"), ("ring", "diagonal")))
