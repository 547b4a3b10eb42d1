"""Places: what is left of, right of, above or below what; what is outermost."""

from __future__ import annotations

from collections.abc import Sequence

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.phrasings import Question, ask
from vl_data.synthesis.sample import Family, Frame, Layouts, Made, Turn
from vl_data.synthesis.shapes import Item
from vl_data.synthesis.things import described, different, make_item, picture, place

RELATIONS = {
    "left of": (0, -1),
    "right of": (0, 1),
    "above": (1, -1),
    "below": (1, 1),
}
"""Relation to axis (0 across) and direction."""
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_OUTERMOST = {"leftmost": (0, -1), "rightmost": (0, 1), "topmost": (1, -1), "lowest": (1, 1)}

_RELATION = Question(
    "relation",
    (
        "Where is the {first}, seen from the {second}: {options}?",
        "On which side of the {second} is the {first}? Say {options}.",
    ),
    (
        "Say whether the {first} is {options} the {second}.",
        "Describe where the {first} is relative to the {second}. Answer {options}.",
    ),
    (
        "The {first} is {answer} the {second}.",
        "In the picture the {first} is {answer} the {second}.",
    ),
)
_OUTER = Question(
    "outermost",
    (
        "Which shape is {most}?",
        "What is the {most} thing in the picture?",
        "Of all the shapes, which one is {most}?",
    ),
    (
        "Name the {most} shape with its colour.",
        "Tell which thing is {most}. Give colour and shape.",
    ),
    ("The {most} shape is the {answer}.", "Of all things, the {answer} is {most}."),
)


def make(draws: Draws, frame: Frame) -> Made:
    """Two shapes in a relation drawn evenly, or more of them in a line or in the corners."""
    if frame.layout == "pair":
        items = _pair(draws, frame)
    else:
        count = 4 if frame.layout == "corners" else draws.between(2, 4)
        items = place(draws, frame, frame.layout, different(draws, frame, count))
    image, background = picture(draws, frame, items)
    turns = [_relation(draws, items)]
    outer = _outermost(draws, items)
    if outer is not None:
        turns = draws.shuffled([*turns, outer])
    truth = {"items": [item.truth() for item in items]}
    return Made(image, turns, described(items, background), truth)


def _pair(draws: Draws, frame: Frame) -> list[Item]:
    """Two things whose boxes are apart along one axis, and nearly level along the other."""
    axis, direction = RELATIONS[draws.pick(list(RELATIONS))]
    sides = (frame.width, frame.height)
    size = int(frame.side * draws.uniform(0.18, 0.34))
    along = [draws.uniform(0.2, 0.3) * sides[axis], draws.uniform(0.7, 0.8) * sides[axis]]
    across = draws.uniform(0.25, 0.75) * sides[1 - axis]
    if direction > 0:
        along.reverse()
    items = []
    for kind, at in zip(different(draws, frame, 2), along, strict=True):
        level = across + draws.uniform(-0.05, 0.05) * sides[1 - axis]
        x, y = (at, level) if axis == 0 else (level, at)
        items.append(make_item(draws, kind, x, y, size))
    return items


def _relation(draws: Draws, items: Sequence[Item]) -> Turn:
    """A question of two things that are apart along an axis; which comes first is even."""
    pairs = [
        (first, second, name)
        for first in items
        for second in items
        for name in RELATIONS
        if first is not second and holds(name, first, second)
    ]
    first, second, name = draws.pick(pairs)
    options = [name, _OPPOSITE[name]]
    if draws.coin():
        options.reverse()
    return ask(
        draws, _RELATION, name, [_OPPOSITE[name]],
        first=first.name, second=second.name, options=" or ".join(options),
    )  # fmt: skip


def holds(relation: str, first: Item, second: Item) -> bool:
    """Whether the boxes are apart in that direction: no point of one is level with the other's."""
    axis, direction = RELATIONS[relation]
    if direction < 0:
        return first.box[axis + 2] <= second.box[axis]
    return second.box[axis + 2] <= first.box[axis]


def _outermost(draws: Draws, items: Sequence[Item]) -> Turn | None:
    """Which thing is outermost, if its box is clear of all others' in that direction."""
    found = []
    for most, (axis, direction) in _OUTERMOST.items():
        relation = next(name for name, how in RELATIONS.items() if how == (axis, direction))
        for item in items:
            if all(other is item or holds(relation, item, other) for other in items):
                found.append((most, item))
    if not found:
        return None
    most, item = draws.pick(found)
    return ask(draws, _OUTER, item.name, [other.name for other in items], most=most)


FAMILY = Family("spatial", make, Layouts(("pair", "row", "column"), ("diagonal", "corners")))
