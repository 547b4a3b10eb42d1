"""Text in pictures: reading all of it or a line, and where a word stands.

Words come from the corpus's documents (`TextPool`); fonts, sizes, inks and noises are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from vl_data.synthesis.boxes import HOW, box_text, moved
from vl_data.synthesis.colours import INKS
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.fonts import drawing_fonts
from vl_data.synthesis.lettering import Sheet, Word
from vl_data.synthesis.noise import disturb
from vl_data.synthesis.phrasings import Question, ask, ask_yes_no, numbers_near
from vl_data.synthesis.sample import Family, Frame, Layouts, Made, Turn
from vl_data.synthesis.shapes import Box

_READ = Question(
    "read",
    (
        "What does the text say?",
        "What is written in the picture?",
        "Which text does the picture show?",
    ),
    (
        "Read the text.",
        "Transcribe what is written in the picture.",
        "Copy out the text of the picture.",
    ),
    ("The picture says “{answer}”.", "The text reads “{answer}”."),
)
_LINE = Question(
    "line",
    (
        "What does line {number} say?",
        "What is written in line {number}, counted from the first?",
    ),
    ("Read line {number} only.", "Transcribe line {number} of the text."),
    ("Line {number} reads “{answer}”.", "In line {number} stands “{answer}”."),
)
_LINES = Question(
    "lines",
    ("How many lines of text are there?", "Over how many lines does the text run?"),
    ("Count the lines of text.", "Give the number of lines as digits."),
    ("The text has {answer} lines in all.", "The number of lines is {answer}."),
)
_LOCATE = Question(
    "locate",
    ("Where is the word “{word}”? {how}", "What is the box of the word “{word}”? {how}"),
    ("Find the word “{word}” and give its box. {how}", "Locate “{word}”. {how}"),
    ("The word “{word}” stands at {answer}. {how}", "The box of “{word}” is {answer}. {how}"),
)
_AT = Question(
    "at",
    ("Which word is in the box {box}? {how}", "What is written at {box}? {how}"),
    ("Read the word inside the box {box}. {how}", "Read what stands at {box}. {how}"),
    ("The word at {box} is “{answer}”. {how}", "At {box} stands “{answer}”. {how}"),
)
_CONTAINS = (
    "Does the text contain the word “{word}”?",
    "Is the word “{word}” in the picture? Answer yes or no.",
    "Yes or no: “{word}” is one of the words shown.",
)

_SHORT = 64
"""Characters of a text that may stand in a choice or a claim."""


@dataclass(frozen=True)
class _Page:
    """A picture with its words in reading order, and the document they are from."""

    image: Image.Image
    lines: list[str]
    words: list[Word]
    source: str | None
    face: str
    noise: str = "clean"


def make(draws: Draws, frame: Frame) -> Made:
    """A page in the frame's layout, disturbed, with two questions."""
    page = _PAGES[frame.layout](draws, frame)
    # Blur costs small letters their form.
    image, noise = disturb(draws, page.image, blurred=frame.side >= 168)
    page = replace(page, image=image, noise=noise)
    turns = _turns(draws, frame, page)
    truth = {
        "lines": page.lines,
        "words": [word.truth() for word in page.words],
        "text_id": page.source,
        "font": page.face,
        "noise": page.noise,
    }
    text = " ".join(page.lines)
    return Made(image, turns, f"A picture of text. It reads: {text}", truth)


def _turns(draws: Draws, frame: Frame, page: _Page) -> list[Turn]:
    size = frame.width, frame.height
    kinds = ["read", "contains", "locate", "at"]
    # Of two columns, it is not plain which lines are counted.
    if len(page.lines) > 1 and frame.layout != "columns":
        kinds += ["line", "lines"]
    others = _other_words(draws, frame, page)
    turns = []
    for kind in draws.picks(kinds, 2):
        if kind == "contains":
            turns.append(_contains(draws, page, others))
        elif kind == "lines":
            count = len(page.lines)
            turns.append(ask(draws, _LINES, str(count), numbers_near(draws, count, 1, 8)))
        elif kind == "line":
            at = draws.below(len(page.lines))
            wrong = [line for line in page.lines if len(line) <= _SHORT]
            turns.append(_short(draws, _LINE, page.lines[at], wrong, number=str(at + 1)))
        elif kind == "read":
            answer = "\n".join(page.lines)
            wrong = others if len(page.words) == 1 else []
            turns.append(_short(draws, _READ, answer, wrong))
        else:
            found = _only_once(draws, page.words)
            if found is None:
                continue
            text = box_text(found.box, *size)
            if kind == "at":
                wrong = [word.text for word in page.words] + others
                turns.append(ask(draws, _AT, found.text, wrong, box=text, how=HOW))
            else:
                wrong = [box_text(word.box, *size) for word in page.words if word != found]
                wrong.append(box_text(moved(draws, found.box, *size), *size))
                turns.append(ask(draws, _LOCATE, text, wrong, word=found.text, how=HOW))
    # Of words that all stand there twice, what is written can still be asked.
    return turns or [_short(draws, _READ, "\n".join(page.lines), [])]


def _short(
    draws: Draws, question: Question, answer: str, wrong: Sequence[str], **names: str
) -> Turn:
    """`ask`, where a long or broken answer is asked for openly: it is no part of a sentence."""
    if len(answer) > _SHORT or "\n" in answer:
        question, wrong = replace(question, claims=()), ()
    return ask(draws, question, answer, wrong, **names)


def _contains(draws: Draws, page: _Page, others: Sequence[str]) -> Turn:
    yes = draws.coin()
    word = draws.pick([word.text for word in page.words]) if yes else draws.pick(others)
    return ask_yes_no(draws, "contains", _CONTAINS, yes, word=word)


def _only_once(draws: Draws, words: Sequence[Word]) -> Word | None:
    """A word that no other equals when case does not count."""
    counts = Counter(word.text.casefold() for word in words)
    once = [word for word in words if counts[word.text.casefold()] == 1]
    return draws.pick(once) if once else None


def _other_words(draws: Draws, frame: Frame, page: _Page) -> list[str]:
    """Three words that are not on the page, in any case of letters."""
    shown = {word.text.casefold() for word in page.words}
    longest = max(len(word.text) for word in page.words)
    found: list[str] = []
    while len(found) < 3:
        (word,) = frame.texts.words(draws, 1, longest=max(longest, 6)).words
        if word.casefold() not in shown:
            found.append(word)
            shown.add(word.casefold())
        elif len(shown) > 40 or draws.below(12) == 0:
            # A document of few different words: a number is no word of it.
            number = str(draws.between(100, 999_999))
            if number not in shown:
                found.append(number)
                shown.add(number)
    return found


def _sheet(draws: Draws, frame: Frame, words: Sequence[str], em: int) -> tuple[Sheet, str]:
    face = draws.pick(drawing_fonts("".join(words)))
    ink, paper = draws.pick(INKS)
    return Sheet(frame.width, frame.height, ink, paper, face, em), face


def _em(draws: Draws, frame: Frame, low: float, high: float) -> int:
    """A font size between two shares of the shorter side, at least what can be read."""
    smallest = 11 if frame.side < 112 else 12
    return max(smallest, round(frame.side * draws.uniform(low, high)))


def _longest(frame: Frame, em: int) -> int:
    """Characters of the longest word that surely fits across."""
    return max(3, int(frame.width * 0.9 / (em * 0.75)))


def _lines_of(
    draws: Draws, frame: Frame, count: int, most: int, em: int, width: int
) -> tuple[Sheet, str, list[list[str]], str | None]:
    """Up to ``count`` lines of up to ``most`` words that fit a width."""
    wanted = count * most
    drawn = frame.texts.words(draws, wanted, _longest(frame, em), fewest=wanted // 4 + 1)
    sheet, face = _sheet(draws, frame, drawn.words, em)
    left = list(drawn.words)
    lines: list[list[str]] = []
    while left and len(lines) < count:
        # A single word too wide for its line (a wide face) is cut: what is drawn is the truth.
        while left and sheet.fitting(left[:1], width) == 0:
            left[0] = left[0][:-1]
            if not left[0]:
                left.pop(0)
        taken = max(1, min(sheet.fitting(left, width), most)) if left else 0
        if taken:
            lines.append(left[:taken])
            left = left[taken:]
    return sheet, face, lines, drawn.source


def _line(draws: Draws, frame: Frame) -> _Page:
    """One line somewhere."""
    em = _em(draws, frame, 0.05, 0.14)
    width = int(frame.width * 0.92)
    sheet, face, lines, source = _lines_of(draws, frame, 1, draws.between(1, 6), em, width)
    x = draws.between(2, max(2, frame.width - sheet.width_of(lines[0]) - 2))
    top = draws.between(1, max(1, frame.height - sheet.line_height - 1))
    sheet.set_line(lines[0], x, top, 0)
    return _page(sheet, lines, source, face)


def _paragraph(draws: Draws, frame: Frame) -> _Page:
    """Lines that fill the width, from the top."""
    em = _em(draws, frame, 0.035, 0.07)
    edge = max(2, round(frame.width * 0.05))
    room = frame.height - 2 * edge
    count = draws.between(1, max(1, min(8, int(room / (em * 1.4)))))
    sheet, face, lines, source = _lines_of(draws, frame, count, 12, em, frame.width - 2 * edge)
    for number, line in enumerate(lines[: max(1, room // sheet.line_height)]):
        sheet.set_line(line, edge, edge + number * sheet.line_height, number)
    return _page(sheet, lines[: max(1, room // sheet.line_height)], source, face)


def _list(draws: Draws, frame: Frame) -> _Page:
    """Short lines under one another, set from the left or about the middle."""
    em = _em(draws, frame, 0.05, 0.09)
    count = draws.between(1, max(1, min(8, int(frame.height * 0.9 / (em * 1.5)))))
    width = int(frame.width * 0.9)
    sheet, face, lines, source = _lines_of(draws, frame, count, draws.between(1, 3), em, width)
    lines = lines[: max(1, frame.height * 95 // 100 // sheet.line_height)]
    middle = draws.coin()
    top = max(1, (frame.height - len(lines) * sheet.line_height) // 2)
    for number, line in enumerate(lines):
        free = frame.width - sheet.width_of(line)
        x = free // 2 if middle else max(2, round(frame.width * 0.06))
        sheet.set_line(line, min(x, max(free, 0)), top + number * sheet.line_height, number)
    return _page(sheet, lines, source, face)


def _sign(draws: Draws, frame: Frame) -> _Page:
    """One large word in a border."""
    em = _em(draws, frame, 0.12, 0.24)
    width = int(frame.width * 0.8)
    sheet, face, lines, source = _lines_of(draws, frame, 1, 1, em, width)
    x = (frame.width - sheet.width_of(lines[0])) // 2
    top = (frame.height - sheet.line_height) // 2
    sheet.set_line(lines[0], x, top, 0)
    edge, thick = max(1, frame.side // 28), max(1, frame.side // 56)
    ImageDraw.Draw(sheet.image).rectangle(
        (edge, edge, frame.width - 1 - edge, frame.height - 1 - edge),
        outline=sheet.ink, width=thick,
    )  # fmt: skip
    return _page(sheet, lines, source, face)


def _columns(draws: Draws, frame: Frame) -> _Page:
    """Two columns; read down the left one, then down the right one."""
    em = _em(draws, frame, 0.035, 0.06)
    edge = max(2, round(frame.width * 0.04))
    width = (frame.width - 3 * edge) // 2
    fit = max(1, min(4, int((frame.height - 2 * edge) / (em * 1.5))))
    each = draws.between(1, fit)
    narrow = replace(frame, width=width)
    drawn = frame.texts.words(draws, each * 8, _longest(narrow, em), fewest=each * 2)
    sheet, face = _sheet(draws, frame, drawn.words, em)
    left = list(drawn.words)
    lines: list[list[str]] = []
    while left and len(lines) < 2 * each:
        while sheet.fitting(left[:1], width) == 0 and len(left[0]) > 1:
            left[0] = left[0][:-1]
        taken = max(1, min(sheet.fitting(left, width), 4))
        lines.append(left[:taken])
        left = left[taken:]
    for number, line in enumerate(lines):
        column, row = divmod(number, each)
        top = edge + row * sheet.line_height
        sheet.set_line(line, edge + column * (width + edge), top, number)
    return _page(sheet, lines, drawn.source, face)


def _turned(draws: Draws, frame: Frame) -> _Page:
    """A list turned by a quarter, so that it reads from bottom to top."""
    page = _list(draws, replace(frame, width=frame.height, height=frame.width))
    words = [replace(word, box=_quarter(word.box, frame.height)) for word in page.words]
    return replace(page, image=page.image.transpose(Image.Transpose.ROTATE_90), words=words)


def _quarter(box: Box, side: int) -> Box:
    """A box after its image, ``side`` wide, was turned by a quarter against the clock."""
    left, top, right, bottom = box
    return top, side - right, bottom, side - left


def _page(sheet: Sheet, lines: Sequence[Sequence[str]], source: str | None, face: str) -> _Page:
    texts = [" ".join(line) for line in lines]
    return _Page(sheet.image, texts, sheet.words, source, face)


_PAGES = {
    "line": _line,
    "paragraph": _paragraph,
    "list": _list,
    "sign": _sign,
    "columns": _columns,
    "turned": _turned,
}

FAMILY = Family("ocr", make, Layouts(("line", "paragraph", "list", "sign"), ("columns", "turned")))
