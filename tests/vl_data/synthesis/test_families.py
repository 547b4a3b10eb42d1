"""Every family: what is asked and said is true of the pixels, at every size and in both splits."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from tests.vl_data.synthesis.test_draws import chi_square
from vl_data.synthesis.boxes import box_text
from vl_data.synthesis.colours import COLOURS
from vl_data.synthesis.families import FAMILIES
from vl_data.synthesis.phrasings import LETTERS
from vl_data.synthesis.sample import Sample, Split
from vl_data.synthesis.synthesise import Settings, synthesise
from vl_data.synthesis.texts import TextPool

POOL = TextPool(
    [
        (
            "a",
            "The quick brown fox jumps over the lazy dog while seven wizards quietly judge. " * 9,
        ),
        (
            "b",
            "Größe and Übermut: naïve café, 1,234 items; see <image> and <|user|> \ufffc here. "
            * 9,
        ),
        ("c", "Съешь ещё этих мягких французских булок да выпей же чаю. " * 9),
        ("d", "漢字だけの文書です。" * 50),
    ]
)
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
SHAPED = ("counting", "colours", "spatial", "grounding")


@cache
def made(family: str, size: int = 112, split: Split = "train", count: int = 60) -> list[Sample]:
    settings = Settings(seed=3, size=size, families=(family,), split=split, aspects="square")
    return [synthesise(i, settings, POOL) for i in range(count)]


def pixels(sample: Sample) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB"), dtype=np.int16)


def open_answer(question: str, answer: str) -> str | None:
    """The answer in words: of a choice, the option; of a check, None."""
    if answer in ("yes", "no"):
        return None
    option = re.search(rf"^{answer}\. (.*)$", question, re.MULTILINE) if answer in LETTERS else None
    return option[1] if option else answer


SIZES = [(name, s) for name, f in FAMILIES.items() for s in (56, 112, 336) if s >= f.smallest]


@pytest.mark.parametrize(("family", "size"), SIZES)
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_samples_are_whole_and_of_their_splits_layouts(
    family: str, size: int, split: Split
) -> None:
    samples = made(family, size, split, 24)
    layouts = FAMILIES[family].layouts
    for sample in samples:
        image = Image.open(io.BytesIO(sample.image))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (size, size))
        assert np.ptp(pixels(sample), axis=(0, 1)).any(), "nothing is drawn"
        assert sample.layout in layouts.of(split)
        assert len(sample.turns) == len(sample.asked) >= 1
        assert all(question.strip() and answer.strip() for question, answer in sample.turns)
        assert sample.description.strip()
        assert orjson.loads(orjson.dumps(sample.truth)) == sample.truth


def test_no_layout_is_in_both_splits() -> None:
    for family in FAMILIES.values():
        assert family.layouts.train
        assert family.layouts.heldout
        assert not set(family.layouts.train) & set(family.layouts.heldout)
    for name in FAMILIES:
        seen = {sample.layout for sample in made(name)}
        assert seen == set(FAMILIES[name].layouts.train), "a training layout never occurs"


@pytest.mark.parametrize("family", SHAPED)
@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("size", [56, 112, 336])
def test_boxes_of_shapes_hold_their_ink_and_nothing_is_outside_them(
    family: str, split: Split, size: int
) -> None:
    """The ink that pixels show, found without the drawing code, is what the boxes say."""
    for sample in made(family, size, split, 24):
        shown = pixels(sample)
        corner = shown[0, 0] if not _covers(sample, 0, 0) else shown[-1, -1]
        ink = np.abs(shown - corner).max(axis=2) > 0
        outside = ink.copy()
        boxes = [item["box"] for item in sample.truth["items"]]
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= size
            assert 0 <= top < bottom <= size
            part = ink[top:bottom, left:right]
            # Smoothing may leave nothing of a tip's last pixel: a side may be a pixel off.
            assert part[:, :2].any()
            assert part[:, -2:].any()
            assert part[:2].any()
            assert part[-2:].any()
            outside[top:bottom, left:right] = False
        assert not outside.any()
        for i, one in enumerate(boxes):
            for other in boxes[:i]:
                apart = (
                    one[2] <= other[0] or other[2] <= one[0]
                    or one[3] <= other[1] or other[3] <= one[1]
                )  # fmt: skip
                assert apart, f"{one} and {other} overlap in {sample.family}/{sample.layout}"


def _covers(sample: Sample, x: int, y: int) -> bool:
    boxes = [item["box"] for item in sample.truth["items"]]
    return any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes)


def test_a_thing_has_the_colour_it_is_said_to_have() -> None:
    for family in SHAPED:
        for sample in made(family, 336):
            shown = pixels(sample)
            for item in sample.truth["items"]:
                left, top, right, bottom = item["box"]
                seen = shown[(top + bottom) // 2, (left + right) // 2]
                nearest = min(
                    COLOURS, key=lambda name: int(np.abs(seen - np.array(COLOURS[name])).sum())
                )
                assert nearest == item["colour"]


def test_counts_are_those_of_the_items_and_evenly_many() -> None:
    samples = made("counting", 112, "train", 900)
    counts: Counter[object] = Counter()
    for sample in samples:
        words = sample.truth["things"].split()
        items = sample.truth["items"]
        matching = [
            item
            for item in items
            if words[-1] in ("shapes", item["shape"] + "s", item["shape"] + "es")
            and (len(words) == 1 or item["colour"] == words[0])
        ]
        assert len(matching) == sample.truth["count"]
        (turn,) = sample.turns
        answer = open_answer(*turn)
        assert answer is None or answer == str(len(matching))
        if words != ["shapes"]:
            counts[sample.truth["count"]] += 1
    assert set(counts) == set(range(10))
    assert chi_square(counts, 10) < 35


def test_colours_asked_for_are_even_and_yes_is_as_often_as_no() -> None:
    asked: Counter[object] = Counter()
    checks: Counter[object] = Counter()
    for sample in made("colours", 112, "train", 800):
        colours = {item["shape"]: item["colour"] for item in sample.truth["items"]}
        assert colours[sample.truth["shape"]] == sample.truth["colour"]
        asked[sample.truth["colour"]] += 1
        for (question, answer), (kind, prompt) in zip(sample.turns, sample.asked, strict=True):
            if kind == "exists":
                said = next(name for name in COLOURS if re.search(rf"\b{name}\b", question))
                assert (said in colours.values()) == (answer == "yes")
            if prompt == "check":
                checks[answer] += 1
            if kind == "colour" and (words := open_answer(question, answer)):
                assert words == sample.truth["colour"]
    assert chi_square(asked, len(COLOURS)) < 30
    assert chi_square(checks, 2) < 16


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_relations_hold_between_the_boxes(split: Split) -> None:
    relations: Counter[object] = Counter()
    for sample in made("spatial", 112, split, 300):
        boxes = {f"{i['colour']} {i['shape']}": i["box"] for i in sample.truth["items"]}
        for (question, answer), (kind, prompt) in zip(sample.turns, sample.asked, strict=True):
            said = open_answer(question, answer)
            if said is None:
                continue
            places = sorted((question.index(name), name) for name in boxes if name in question)
            if kind == "outermost":
                most = next(
                    m for m in ("leftmost", "rightmost", "topmost", "lowest") if m in question
                )
                side = {"leftmost": 0, "topmost": 1, "rightmost": 2, "lowest": 3}[most]
                best = (max if side > 1 else min)(boxes, key=lambda name: boxes[name][side])
                assert said == best
                continue
            if prompt in ("question", "instruction", "choice"):
                offered = [relation for relation in OPPOSITES if relation in question]
                assert offered == sorted((said, OPPOSITES[said]), key=list(OPPOSITES).index)
            names = [name for _, name in places]
            first, second = names if f"side of the {names[0]}" not in question else names[::-1]
            one, two = boxes[first], boxes[second]
            holds = {
                "left of": one[2] <= two[0], "right of": one[0] >= two[2],
                "above": one[3] <= two[1], "below": one[1] >= two[3],
            }  # fmt: skip
            assert holds[said], (question, answer, boxes)
            relations[said] += 1
    assert set(relations) == {"left of", "right of", "above", "below"}
    assert chi_square(relations, 4) < 30


def test_grounding_answers_are_boxes_of_the_things_named() -> None:
    for sample in made("grounding", 336):
        boxes = {
            f"{i['colour']} {i['shape']}": box_text(tuple(i["box"]), 336, 336)
            for i in sample.truth["items"]
        }
        for (question, answer), (kind, _) in zip(sample.turns, sample.asked, strict=True):
            said = open_answer(question, answer)
            if said is None:
                claimed = [n for n in boxes if n in question and boxes[n] in question]
                assert bool(claimed) == (answer == "yes")
            elif kind == "locate":
                assert said in boxes.values()
                assert next(name for name in boxes if boxes[name] == said) in question
            else:
                assert boxes[said] in question


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("size", [56, 336])
def test_words_are_where_their_boxes_say(split: Split, size: int) -> None:
    clean = [s for s in made("ocr", size, split, 60) if s.truth["noise"] == "clean"]
    assert clean
    for sample in clean:
        shown = pixels(sample)
        for word in sample.truth["words"]:
            left, top, right, bottom = word["box"]
            assert 0 <= left < right <= size, word
            assert 0 <= top < bottom <= size, word
            part = shown[top:bottom, left:right].reshape(-1, 3)
            assert int(np.abs(part - part[0]).max()) > 40, f"no ink in {word}"


def test_text_is_of_its_document_and_answers_are_its_lines() -> None:
    sources = set()
    for sample in made("ocr", 336, "train", 80):
        truth = sample.truth
        sources.add(truth["text_id"])
        words = [word["word"] for word in truth["words"]]
        assert " ".join(truth["lines"]).split() == words
        for forbidden in ("<image>", "<|", "|>", "\ufffc"):
            assert all(forbidden not in text for turn in sample.turns for text in turn)
        for (question, answer), (kind, _) in zip(sample.turns, sample.asked, strict=True):
            said = open_answer(question, answer)
            if kind == "lines" and said:
                assert said == str(len(truth["lines"]))
            elif kind == "line" and said:
                assert said in truth["lines"]
            elif kind == "read" and said:
                assert said == "\n".join(truth["lines"])
            elif kind == "contains":
                word = re.search("“(.*)”", question)
                assert word is not None
                assert (word[1] in words) == (answer == "yes")
    assert {"a", "b", "c"} <= sources
    assert "d" not in sources, "no font draws this document's script"


def test_tables_answer_from_their_cells() -> None:
    for sample in made("tables", 336, "train", 80):
        rows = sample.truth["rows"]
        for (question, answer), (kind, _) in zip(sample.turns, sample.asked, strict=True):
            said = open_answer(question, answer)
            if said is None:
                continue
            columns = [c for c in next(iter(rows.values())) if re.search(rf"\b{c}\b", question)]
            names = [name for name in rows if re.search(rf"\b{name}\b", question)]
            if kind == "rows":
                assert said == str(len(rows))
            elif kind == "cell":
                assert int(said) in {rows[n][c] for n in names for c in columns}
            elif kind == "sum":
                sums = {
                    rows[a][c] + rows[b][c] for c in columns for a in names for b in names if a != b
                }
                assert int(said) in sums
            else:
                at = -1 if "largest" in question else 0
                ranked = [sorted((row[c], name) for name, row in rows.items()) for c in columns]
                assert said in {found[at][1] for found in ranked}


def test_charts_answer_from_their_values() -> None:
    kinds: Counter[str] = Counter()
    splits: tuple[Split, ...] = ("train", "heldout")
    for split in splits:
        for sample in made("charts", 168, split, 50):
            values = sample.truth.get("values", {})
            for (question, answer), (kind, _) in zip(sample.turns, sample.asked, strict=True):
                said = open_answer(question, answer)
                if said is None:
                    continue
                kinds[kind] += 1
                named = [n for n in values if re.search(rf"\b{n}\b", question.split("\n")[-1])]
                if kind in ("trend", "correlation"):
                    assert said == sample.truth[kind]
                elif kind == "count":
                    assert said == str(len(values or sample.truth["points"]))
                elif kind == "value":
                    assert int(said) in values.values()
                elif kind == "difference":
                    assert int(said) in {
                        abs(a - b) for a in values.values() for b in values.values()
                    }
                elif kind == "compare":
                    assert said in values
                    assert not named or any(values[said] >= values[n] for n in named)
                else:
                    best = max if "largest" in question else min
                    assert said == best(values, key=lambda n: values[n])
    assert set(kinds) == {
        "trend", "correlation", "count", "value", "difference", "compare", "extremum"
    }  # fmt: skip


def test_geometry_follows_from_what_is_drawn() -> None:
    figures: Counter[str] = Counter()
    for sample in made("geometry", 336, "train", 200):
        truth = sample.truth
        figures[truth["figure"]] += 1
        (turn,), ((kind, _),) = sample.turns, sample.asked
        said = open_answer(*turn)
        right = _geometry_answer(kind, truth)
        assert said in (None, right)
        if kind in ("angle", "degrees"):
            one, corner, two = (np.array(point, dtype=float) for point in truth["points"])
            a, b = one - corner, two - corner
            drawn = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
            assert drawn == pytest.approx(truth["degrees"], abs=1.5)
        if kind == "third-angle":
            assert sum(truth["angles"]) == 180
    assert len(figures) == 5


def _geometry_answer(kind: str, truth: Mapping[str, Any]) -> str:
    if kind == "polygon":
        names = ("triangle", "quadrilateral", "pentagon", "hexagon", "heptagon", "octagon")
        return names[truth["sides"] - 3]
    if kind == "angle":
        degrees = truth["degrees"]
        return "right" if degrees == 90 else "acute" if degrees < 90 else "obtuse"
    if kind in ("sides", "degrees"):
        return str(truth[kind])
    if kind == "area":
        return str(truth["width"] * truth["height"])
    if kind == "perimeter":
        return str(2 * (truth["width"] + truth["height"]))
    if kind == "third-angle":
        return str(180 - sum(truth["angles"][:2]))
    assert kind == "diameter"
    return str(2 * truth["radius"])
