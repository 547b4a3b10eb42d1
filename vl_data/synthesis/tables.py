"""Tables of names and numbers: reading a cell, the extremum of a column, counting rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vl_data.synthesis.colours import INKS, RGB
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.figures import NAMES, QUANTITIES
from vl_data.synthesis.fonts import drawing_fonts
from vl_data.synthesis.lettering import Sheet
from vl_data.synthesis.phrasings import Question, ask, numbers_near
from vl_data.synthesis.sample import Family, Frame, Layouts, Made, Turn

_CELL = Question(
    "cell",
    (
        "What is the {column} of {row}?",
        "Which {column} does the table give for {row}?",
    ),
    (
        "Read the {column} of {row} from the table.",
        "Give the number for {row} under {column}.",
    ),
    ("The {column} of {row} is {answer}.", "For {row} the table says {answer} under {column}."),
)
_MOST = Question(
    "extremum",
    (
        "Which name has the {most} {column}?",
        "For which name is the {column} {most}?",
    ),
    (
        "Name the row with the {most} {column}.",
        "Find the {most} {column} and say whose it is.",
    ),
    ("The {most} {column} is that of {answer}.", "{answer} has the {most} {column}."),
)
_ROWS = Question(
    "rows",
    ("How many names does the table list?", "For how many names does the table give numbers?"),
    ("Count the names in the table.", "Give the number of names in the table as digits."),
    ("The table lists {answer} names.", "There are {answer} names in the table."),
)
_SUM = Question(
    "sum",
    (
        "What is the {column} of {first} and {second} together?",
        "How much do the {column} of {first} and of {second} add up to?",
    ),
    (
        "Add the {column} of {first} to that of {second}.",
        "Give the sum of the {column} of {first} and {second}.",
    ),
    ("Together, {first} and {second} have a {column} of {answer}.",),
)


@dataclass(frozen=True)
class _Table:
    names: list[str]
    columns: list[str]
    values: list[list[int]]
    """One list a name, one number a column; no number twice in a column."""


def make(draws: Draws, frame: Frame) -> Made:
    """A table of two to six names and one to three columns."""
    wide = frame.side >= 224
    table = _table(draws, draws.between(2, 6 if wide else 4), draws.between(1, 3 if wide else 2))
    image = _painted(draws, frame, table)
    column = draws.below(len(table.columns))
    kinds = draws.picks(("cell", "extremum", "rows", "sum"), 2)
    turns = [_ASKED[kind](draws, table, column) for kind in kinds]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.values]
    truth = {"rows": dict(zip(table.names, rows, strict=True))}
    told = "; ".join(
        f"{name}: " + ", ".join(f"{c} {v}" for c, v in row.items())
        for name, row in zip(table.names, rows, strict=True)
    )
    return Made(image, turns, f"A table. {told}.", truth)


def _table(draws: Draws, names: int, columns: int) -> _Table:
    titles = draws.picks(QUANTITIES, columns)
    across = [draws.picks(range(1, draws.pick((20, 100, 1000))), names) for _ in titles]
    values = [list(row) for row in zip(*across, strict=True)]
    return _Table(draws.picks(draws.pick(NAMES), names), titles, values)


def _cell(draws: Draws, table: _Table, column: int) -> Turn:
    at = draws.below(len(table.names))
    answer = str(table.values[at][column])
    wrong = [str(number) for row in table.values for number in row]
    wrong += numbers_near(draws, table.values[at][column], 0, 1001)
    return ask(draws, _CELL, answer, wrong, column=table.columns[column], row=table.names[at])


def _extremum(draws: Draws, table: _Table, column: int) -> Turn:
    most = draws.pick(("largest", "smallest"))
    numbers = [row[column] for row in table.values]
    best = max(numbers) if most == "largest" else min(numbers)
    answer = table.names[numbers.index(best)]
    return ask(draws, _MOST, answer, table.names, most=most, column=table.columns[column])


def _rows(draws: Draws, table: _Table, column: int) -> Turn:
    del column
    count = len(table.names)
    return ask(draws, _ROWS, str(count), numbers_near(draws, count, 2, 7))


def _sum(draws: Draws, table: _Table, column: int) -> Turn:
    one, two = draws.picks(range(len(table.names)), 2)
    total = table.values[one][column] + table.values[two][column]
    return ask(
        draws, _SUM, str(total), numbers_near(draws, total, 2, 2000, 5),
        column=table.columns[column], first=table.names[one], second=table.names[two],
    )  # fmt: skip


_ASKED = {"cell": _cell, "extremum": _extremum, "rows": _rows, "sum": _sum}


def _painted(draws: Draws, frame: Frame, table: _Table) -> Image.Image:
    """The table, as large as fits the frame, somewhere in it."""
    cells = [["name", *table.columns]]
    cells += [
        [name, *(str(v) for v in row)] for name, row in zip(table.names, table.values, strict=True)
    ]
    if frame.layout == "sideways":
        cells = [list(row) for row in zip(*cells, strict=True)]
    face = draws.pick(drawing_fonts("".join(text for row in cells for text in row)))
    ink, paper = draws.pick(INKS)
    em = _largest_em(frame, cells, face, draws.uniform(0.7, 1.0))
    sheet = Sheet(frame.width, frame.height, ink, paper, face, em)
    widths, height = _sizes(sheet, cells)
    left = draws.between(0, max(0, frame.width - sum(widths) - 1))
    top = draws.between(0, max(0, frame.height - height * len(cells) - 1))
    _rules(sheet, frame.layout, (left, top), widths, height, len(cells), paper)
    pad = (height - sheet.ascent - sheet.descent) // 2
    for r, row in enumerate(cells):
        x = left
        for c, text in enumerate(row):
            # Numbers end at the right, names begin at the left.
            free = widths[c] - sheet.width_of([text])
            at = x + (pad if c == 0 else free - pad)
            sheet.set_line([text], at, top + r * height + pad, r)
            x += widths[c]
    return sheet.image


def _sizes(sheet: Sheet, cells: Sequence[Sequence[str]]) -> tuple[list[int], int]:
    """Widths of columns and height of rows, pixels."""
    pad = max(3, (sheet.ascent + sheet.descent) // 3)
    widths = [
        max(sheet.width_of([row[c]]) for row in cells) + 2 * pad for c in range(len(cells[0]))
    ]
    return widths, sheet.ascent + sheet.descent + pad


def _largest_em(frame: Frame, cells: Sequence[Sequence[str]], face: str, share: float) -> int:
    """The largest font size (a share of it) at which the table fits; at least 7 pixels."""
    low, high = 7, max(8, frame.side // 8)
    while low < high:
        em = (low + high + 1) // 2
        widths, height = _sizes(Sheet(1, 1, (0, 0, 0), (0, 0, 0), face, em), cells)
        if sum(widths) < frame.width and height * len(cells) < frame.height:
            low = em
        else:
            high = em - 1
    return max(7, round(low * share))


def _rules(
    sheet: Sheet,
    layout: str,
    corner: tuple[int, int],
    widths: Sequence[int],
    height: int,
    rows: int,
    paper: RGB,
) -> None:
    """Lines or bands behind the cells."""
    draw = ImageDraw.Draw(sheet.image)
    left, top = corner
    right, bottom = left + sum(widths), top + height * rows
    if layout == "banded":
        band = _mixed(paper, sheet.ink, 8)
        for row in range(0, rows, 2):
            draw.rectangle(
                (left, top + row * height, right - 1, top + (row + 1) * height - 1), fill=band
            )
        return
    if layout == "open":
        for y in (top + height, bottom):
            draw.line((left, y, right, y), fill=sheet.ink)
        return
    for row in range(rows + 1):
        draw.line((left, top + row * height, right, top + row * height), fill=sheet.ink)
    x = left
    for width in (0, *widths):
        x += width
        draw.line((x, top, x, bottom), fill=sheet.ink)


def _mixed(paper: RGB, ink: RGB, parts: int) -> RGB:
    """Paper with one part of ink in so many."""
    red, green, blue = (p + (i - p) // parts for p, i in zip(paper, ink, strict=True))
    return red, green, blue


FAMILY = Family("tables", make, Layouts(("ruled", "banded"), ("open", "sideways")), smallest=112)
