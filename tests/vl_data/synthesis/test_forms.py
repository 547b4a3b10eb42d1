"""Pairs of answers and dialogues out of synthesised samples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vl_data.mix.chat import chat_of
from vl_data.mix.preferences import answer_of, pair_of, prompt_of
from vl_data.mix.turns import turns_of
from vl_data.synthesis.draws import Draws
from vl_data.synthesis.errors import SynthesisError
from vl_data.synthesis.experience import experience_record
from vl_data.synthesis.preferences import preference_record
from vl_data.synthesis.sample import Asked, Sample, Turn
from vl_data.synthesis.synthesise import Settings, synthesise
from vl_data.synthesis.texts import TextPool
from vl_data.synthesis.write import write_samples
from vl_data.synthesis.wrong_answers import RIGHT, wrong_answer

COUNT, SEED = 120, 5


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Of all families that can be read at 112 pixels."""
    settings, texts = Settings(seed=SEED, size=112), TextPool()
    return [synthesise(number, settings, texts) for number in range(COUNT)]


def test_each_pair_is_one_that_a_source_reads(samples: list[Sample]) -> None:
    alone = 0
    for number, sample in enumerate(samples):
        row = preference_record(number, sample, "train", SEED)
        shown = int("image" in row)
        pair = pair_of(prompt_of(row), answer_of(row, "chosen"), answer_of(row, "rejected"), shown)
        assert len(pair.loss) == 2
        assert row["chosen"] in dict(sample.turns).values()
        assert 0 <= row["rejected_score"] < row["chosen_score"] == RIGHT
        if not shown:
            alone += 1
            assert row["prompt"][0]["content"].startswith(sample.description)
        assert preference_record(number, sample, "train", SEED) == row
    assert COUNT / 10 < alone < COUNT / 2


def test_dialogues_have_more_turns_and_their_answers_are_true(samples: list[Sample]) -> None:
    for number, sample in enumerate(samples):
        row = experience_record(number, sample, "train", SEED)
        turns = turns_of(row)
        assert len(chat_of(turns, 1).loss) == len(turns) // 2 > len(sample.turns)
        assert len(row["prompts"]) == len(turns) // 2
        items = sample.truth.get("items", ())
        for asked, said in zip(turns[::2], turns[1::2], strict=True):
            if re.search("shapes are there in all|How many things does", asked.text):
                assert int(said.text) == len(items)
            counted = re.search(
                r"[Hh]ow many (?:of the shapes are )?(\w+)(?: ones are there)?\?", asked.text
            )
            if counted and counted[1] in {item["colour"] for item in items}:
                assert int(said.text) == sum(item["colour"] == counted[1] for item in items)


QUESTIONS = [
    ("Is it?", "no", "check", r"yes", 0.0),
    ("Which?\nA. 3\nB. 4\nC. 5", "B", "choice", r"[AC]", 0.0),
    ("How many?", "7", "question", r"6|8", 0.5),
    ("How many?", "0", "question", r"1", 0.5),
    ("Which share?", "09%", "question", r"08%|10%", 0.5),
    ("Where?", "[10, 500, 210, 700]", "question", r"\[\d+, \d+, \d+, \d+\]", 0.3),
    ("Which?", "red circle", "question", r"(?!red)\w+ circle", 0.2),
    ("Which?", "cross", "question", r"(?!cross)\w+", 0.2),
]


@pytest.mark.parametrize(("question", "right", "prompt", "expected", "score"), QUESTIONS)
def test_a_wrong_answer_is_of_the_right_ones_kind(
    question: str, right: str, prompt: str, expected: str, score: float
) -> None:
    turn, repeated = Turn(question, right, Asked("kind", prompt)), 0
    for seed in range(40):
        wrong = wrong_answer(Draws("wrong", seed), turn)
        if wrong.text.startswith(f"{right} {right} {right}"):
            repeated += 1
            assert wrong.score == 0
            continue
        assert re.fullmatch(expected, wrong.text), wrong
        assert wrong.score == score
        if right.startswith("["):
            boxes = [list(map(int, re.findall(r"\d+", box))) for box in (right, wrong.text)]
            assert [b[2] - b[0] for b in boxes] == [200, 200]
            assert all(0 <= x <= 1000 for x in boxes[1])
    assert (0 < repeated < 20) == (prompt == "question")


def test_texts_are_misread_or_repeated() -> None:
    turn, faults = Turn("What is written?", "Two words", Asked("read", "question")), set()
    for seed in range(40):
        wrong = wrong_answer(Draws("text", seed), turn)
        if wrong.text.startswith("Two words Two words"):
            faults.add("repeated")
            assert wrong.score == 0
        else:
            faults.add("misread")
            off = sum(a != b for a, b in zip(wrong.text, turn.answer, strict=True))
            assert 1 <= off <= 2
            assert wrong.score == pytest.approx(1 - off / 8)
    assert faults == {"repeated", "misread"}


def test_a_folder_of_pairs(tmp_path: Path) -> None:
    settings = Settings(seed=SEED, size=112, families=("colours",))
    card = write_samples(tmp_path / "a", 12, settings, form="preferences")
    assert card["form"] == "preferences"
    rows = [json.loads(line) for line in (tmp_path / "a/samples.jsonl").read_text().splitlines()]
    shown = {row["image"] for row in rows if "image" in row}
    assert {f"images/{path.name}" for path in (tmp_path / "a/images").iterdir()} == shown
    with pytest.raises(SynthesisError, match="form: found 'pears', expected one of instructions"):
        write_samples(tmp_path / "b", 1, settings, form="pears")
    assert not (tmp_path / "b").exists()
