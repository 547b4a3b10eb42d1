"""Counting: how many things of a kind, among others."""

from __future__ import annotations

from vl_data.synthesis.colours import COLOURS
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.phrasings import Question, ask, numbers_near
from vl_data.synthesis.sample import Family, Frame, Layouts, Made
from vl_data.synthesis.shapes import SMALL_SIDE, plural
from vl_data.synthesis.things import described, picture, place, shapes_for

_KIND = Question(
    "count",
    (
        "How many {things} are there?",
        "How many {things} can you see in this picture?",
        "What is the number of {things}?",
    ),
    (
        "Count the {things}. Answer with a number.",
        "Give the number of {things} as digits.",
        "Tell me, as a number, how many {things} the picture shows.",
    ),
    (
        "The number of {things} in the picture is {answer}.",
        "Someone counting the {things} here gets {answer}.",
    ),
)
_TOTAL = "shapes"


def make(draws: Draws, frame: Frame) -> Made:
    """Things of up to three kinds; the count asked for is drawn first, evenly."""
    small = frame.side < SMALL_SIDE
    most = 6 if small else 9
    by = draws.pick(("kind", "colour", "shape", "all"))
    shapes, colours = draws.shuffled(shapes_for(frame)), draws.shuffled(list(COLOURS))
    asked = (shapes[0], colours[0])
    others = {
        "kind": [(shapes[0], colours[1]), (shapes[1], colours[0]), (shapes[1], colours[1])],
        "colour": [(shapes[0], colours[1]), (shapes[1], colours[2])],
        "shape": [(shapes[1], colours[0]), (shapes[2], colours[1])],
        "all": [],
    }[by]
    # Without others a picture of none would be empty.
    low = 0 if others else 1
    count = draws.between(low, most)
    kinds = [asked] * count
    if by == "colour":
        kinds = [(draws.pick(shapes[:3]), colours[0]) for _ in range(count)]
    elif by == "shape":
        kinds = [(shapes[0], draws.pick(colours[:3])) for _ in range(count)]
    elif by == "all":
        kinds = [(draws.pick(shapes), draws.pick(colours)) for _ in range(count)]
    # Others of every number too, so that a full picture does not mean a large count.
    kinds += [draws.pick(others) for _ in range(draws.between(1, most // 2 + 1) if others else 0)]
    items = place(draws, frame, frame.layout, kinds)
    image, background = picture(draws, frame, items)
    things = {
        "kind": f"{colours[0]} {plural(shapes[0])}",
        "colour": f"{colours[0]} {_TOTAL}",
        "shape": plural(shapes[0]),
        "all": _TOTAL,
    }[by]
    turn = ask(draws, _KIND, str(count), numbers_near(draws, count, low, most), things=things)
    truth = {"things": things, "count": count, "items": [item.truth() for item in items]}
    return Made(image, [turn], described(items, background), truth)


FAMILY = Family("counting", make, Layouts(("scatter", "rows"), ("ring", "cluster")))
