"""Colours: of a thing, of the thing of a colour, and whether there is one."""

from __future__ import annotations

from vl_data.synthesis.colours import COLOURS
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.phrasings import Question, ask, ask_yes_no
from vl_data.synthesis.sample import Family, Frame, Layouts, Made
from vl_data.synthesis.things import described, different, picture, place, shapes_for

_COLOUR = Question(
    "colour",
    (
        "What colour is the {shape}?",
        "Which colour does the {shape} have?",
        "In what colour is the {shape} drawn?",
    ),
    (
        "Name the colour of the {shape}.",
        "Give the colour of the {shape} in one word.",
        "Look at the {shape} and tell its colour.",
    ),
    ("The {shape} is {answer}.", "The colour of the {shape} is {answer}."),
)
_SHAPE = Question(
    "shape",
    (
        "Which shape is {colour}?",
        "What is the shape of the {colour} thing?",
        "What {colour} shape is there?",
    ),
    (
        "Name the shape that is {colour}.",
        "Say in one word which shape is drawn in {colour}.",
    ),
    ("The {colour} thing is a {answer}.", "The shape drawn in {colour} is a {answer}."),
)
_EXISTS = (
    "Is there anything {colour} in the picture?",
    "Does the picture show something {colour}? Answer yes or no.",
    "Yes or no: one of the shapes is {colour}.",
)


def make(draws: Draws, frame: Frame) -> Made:
    """One to four shapes, each of its own colour and form."""
    count = 1 if frame.layout == "alone" else draws.between(2, 4)
    layout = "scatter" if frame.layout == "alone" else frame.layout
    kinds = different(draws, frame, count)
    items = place(draws, frame, layout, kinds)
    image, background = picture(draws, frame, items)
    shape, colour = draws.pick(kinds)
    shapes, shown = shapes_for(frame), {item.colour for item in items}
    turns = []
    for kind in draws.picks(("colour", "shape", "exists"), 2):
        if kind == "colour":
            turns.append(ask(draws, _COLOUR, colour, list(COLOURS), shape=shape))
        elif kind == "shape":
            turns.append(ask(draws, _SHAPE, shape, shapes, colour=colour))
        else:
            yes = draws.coin()
            said = draws.pick([c for c in COLOURS if (c in shown) == yes])
            turns.append(ask_yes_no(draws, "exists", _EXISTS, yes, colour=said))
    truth = {"shape": shape, "colour": colour, "items": [item.truth() for item in items]}
    return Made(image, turns, described(items, background), truth)


FAMILY = Family("colours", make, Layouts(("alone", "row", "scatter"), ("ring", "corners")))
