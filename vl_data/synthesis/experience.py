"""Dialogues of several turns about one picture, as somebody who uses a model might lead them.

The family's own questions come first; then, in an order that is drawn, what else can be asked of
the picture: to describe it, about the things in it where there are some, and whether an answer is
really meant. The form is LLaVA's, as that of the other records.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from vl_data.synthesis.colours import COLOURS
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.records import record_of
from vl_data.synthesis.sample import Asked, Sample, Split, Turn

_FEWEST, _MOST = 2, 4
"""Further turns of a dialogue."""
_DESCRIBE = (
    "Describe the picture.",
    "What is to be seen, all in all?",
    "Put into words what the picture shows.",
)
_SURE = ("Are you sure?", "Is that really so?", "Please check that again.")
_TOTAL = ("And how many shapes are there in all?", "How many things does the picture show?")
_ANY = ("Is anything {colour}?", "Do you see something {colour}?")
_MANY = ("How many of the shapes are {colour}?", "And how many {colour} ones are there?")


def experience_record(number: int, sample: Sample, split: Split, seed: int) -> dict[str, Any]:
    """The line of a sample's dialogue."""
    draws = Draws(seed, split, "experience", number)
    turns: list[Turn] = []
    for turn in draws.shuffled(_further(draws, sample))[: draws.between(_FEWEST, _MOST)]:
        turns.append(turn)
        if turn.asked.kind not in ("describe", "sure") and draws.below(4) == 0:
            turns.append(_sure(draws, turn.answer))
    record = record_of(number, sample, split)
    for turn in turns:
        record["conversations"] += [
            {"from": "human", "value": turn.question},
            {"from": "gpt", "value": turn.answer},
        ]
        record["prompts"].append({"kind": turn.asked.kind, "prompt": turn.asked.prompt})
    return record


def _further(draws: Draws, sample: Sample) -> list[Turn]:
    """What can be asked of any picture, and of one of coloured shapes."""
    described = Turn(draws.pick(_DESCRIBE), sample.description, Asked("describe", "instruction"))
    items = sample.truth.get("items")
    if not items:
        return [described]
    colours = Counter(item["colour"] for item in items)
    yes = draws.coin()
    said = draws.pick([name for name in COLOURS if (name in colours) == yes])
    counted = draws.pick(sorted(colours))
    return [
        described,
        Turn(draws.pick(_TOTAL), str(len(items)), Asked("total", "question")),
        Turn(draws.pick(_ANY).format(colour=said), "yes" if yes else "no", Asked("any", "check")),
        Turn(
            draws.pick(_MANY).format(colour=counted),
            str(colours[counted]),
            Asked("count-of", "question"),
        ),
    ]


def _sure(draws: Draws, answer: str) -> Turn:
    return Turn(draws.pick(_SURE), f"Yes: {answer}", Asked("sure", "check"))
