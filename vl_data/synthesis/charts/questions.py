"""What is asked of charts with named values: reading, comparing, extrema, counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.phrasings import Question, ask, numbers_near
from vl_data.synthesis.sample import Turn

VALUE = Question(
    "value",
    (
        "What is the {quantity} of {name}?",
        "How large is the {quantity} for {name} in this chart?",
        "Which {quantity} does the chart show for {name}?",
    ),
    (
        "Read the {quantity} of {name} off the chart.",
        "Give the {quantity} of {name} as a number.",
    ),
    ("The {quantity} of {name} is {answer}.", "For {name} the chart shows {answer}."),
)
COMPARE = Question(
    "compare",
    (
        "Which is larger, {first} or {second}?",
        "Of {first} and {second}, which has the larger value?",
    ),
    (
        "Compare {first} with {second} and name the larger one.",
        "Say which is larger: {first} or {second}.",
    ),
    ("Of {first} and {second}, the larger one is {answer}.",),
)
EXTREMUM = Question(
    "extremum",
    (
        "Which {item} has the {most} value?",
        "Where is the value {most}? Name the {item}.",
        "What is the {item} with the {most} value?",
    ),
    (
        "Name the {item} with the {most} value.",
        "Find the {most} value and say which {item} has it.",
    ),
    ("The {item} with the {most} value is {answer}.",),
)
DIFFERENCE = Question(
    "difference",
    (
        "By how much do {first} and {second} differ?",
        "What is the difference between {first} and {second}?",
    ),
    (
        "Give the difference between {first} and {second}.",
        "Work out how far apart {first} and {second} are.",
    ),
    ("{first} and {second} differ by {answer}.",),
)
COUNT = Question(
    "count",
    ("How many {items} does the chart show?", "How many {items} are there?"),
    ("Count the {items}.", "Give the number of {items} as digits."),
    ("The chart shows {answer} {items}.", "The number of {items} is {answer}."),
)
TREND = Question(
    "trend",
    (
        "How does the line run: {options}?",
        "Which of these describes the line: {options}?",
    ),
    (
        "Describe the line with one of these: {options}.",
        "Say how the line runs. Choose from {options}.",
    ),
    ("From left to right the line is {answer}.",),
)
RELATION = Question(
    "correlation",
    (
        "Is the relation between the two axes {options}?",
        "How are the two quantities related: {options}?",
    ),
    (
        "Say how the points relate the two axes: {options}.",
        "Describe the correlation as {options}.",
    ),
    ("The correlation of the points is {answer}.",),
)


def named(
    draws: Draws,
    values: Mapping[str, int],
    *,
    item: str,
    quantity: str = "value",
    readable: bool,
    step: int = 1,
    count: int = 2,
    counted: str | None = None,
) -> list[Turn]:
    """Questions of different kinds about values by name, no two of which are equal.

    Parameters
    ----------
    item : str
        What a name stands for: ``month``, ``colour``.
    readable : bool
        Whether numbers can be read off.
    step : int
        All values are multiples of it.
    count : int
        How many questions, if there are as many kinds.
    counted : str, optional
        What is counted, in the plural; None: counting is not asked for.
    """
    kinds = ["compare", "extremum"]
    kinds += ["value", "difference"] if readable else []
    kinds += ["count"] if counted else []
    return [
        _one(draws, kind, values, item, quantity, step, counted or "")
        for kind in draws.picks(kinds, min(count, len(kinds)))
    ]


def _one(
    draws: Draws,
    kind: str,
    values: Mapping[str, int],
    item: str,
    quantity: str,
    step: int,
    counted: str,
) -> Turn:
    names = list(values)
    first, second = draws.picks(names, 2)
    if kind == "value":
        wrong = [str(v) for v in values.values()] + _near(draws, values[first], step)
        return ask(draws, VALUE, str(values[first]), wrong, name=first, quantity=quantity)
    if kind == "difference":
        answer = abs(values[first] - values[second])
        wrong = _near(draws, answer, step)
        return ask(draws, DIFFERENCE, str(answer), wrong, first=first, second=second)
    if kind == "compare":
        larger = first if values[first] > values[second] else second
        return ask(draws, COMPARE, larger, [first, second], first=first, second=second)
    if kind == "count":
        wrong = numbers_near(draws, len(names), 2, 8)
        return ask(draws, COUNT, str(len(names)), wrong, items=counted)
    most = draws.pick(("largest", "smallest"))
    return ask(draws, EXTREMUM, extreme(values, most), names, item=item, most=most)


def extreme(values: Mapping[str, int], most: str) -> str:
    """The name of the largest or smallest value."""
    return (max if most == "largest" else min)(values, key=lambda name: values[name])


def _near(draws: Draws, value: int, step: int) -> list[str]:
    return [str(int(n) * step) for n in numbers_near(draws, value // step, 0, 60)]


def choices(draws: Draws, options: Sequence[str]) -> str:
    """``a, b or c`` in random order."""
    *rest, last = draws.shuffled(options)
    return f"{', '.join(rest)} or {last}"
