"""Which questions about pictures are asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.picture_questions import (
    RARE,
    PictureQuestion,
    choose_questions,
    load_picture_questions,
)
from vl_data.synthesis.synthesise import Settings
from vl_data.synthesis.write import write_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("asked") / "samples"
    families = ("colours", "counting", "ocr", "spatial")
    write_samples(out, 400, Settings(seed=5, size=112, families=families, split="heldout"))
    return out


def groups(questions: tuple[PictureQuestion, ...]) -> Iterator[list[PictureQuestion]]:
    found = defaultdict(list)
    for question in questions:
        found[question.group].append(question)
    return iter(found.values())


def test_every_turn_is_a_question_with_its_candidates(folder: Path) -> None:
    found, splits = load_picture_questions(folder)
    rows = [orjson.loads(line) for line in (folder / "samples.jsonl").read_bytes().splitlines()]
    assert splits == {"heldout": 400}
    assert len(found) == sum(len(row["prompts"]) for row in rows)
    kinds = {str(question.group): question for question in found}
    assert kinds["colours/exists/check"].candidates == ("yes", "no")
    assert len(kinds["colours/colour/open"].candidates) == 8
    assert set(kinds["counting/count/open"].candidates) <= {str(n) for n in range(10)}
    assert kinds["colours/shape/choice"].candidates == ("A", "B", "C", "D")
    assert kinds["spatial/relation/choice"].candidates == ("A", "B")
    assert kinds["ocr/read/open"].candidates == ()
    for question in found:
        assert "<image>" not in question.text
        assert question.image.is_file()
        assert not question.candidates or question.answer in question.candidates


def test_answers_are_equally_frequent(folder: Path) -> None:
    chosen = choose_questions(folder)
    assert len(chosen.questions) < chosen.asked_of
    seen = 0
    before, _ = load_picture_questions(folder)
    for mine in groups(chosen.questions):
        if not mine[0].candidates:
            continue
        counts = Counter(question.answer for question in mine)
        assert len(set(counts.values())) == 1, mine[0].group
        if mine[0].group.form == "open":
            assert set(mine[0].candidates) == set(counts)
        # Nothing is left out but for balance: the least frequent answer that stays sets it.
        there = Counter(q.answer for q in before if q.group == mine[0].group)
        most = max(there.values())
        kept = {answer for answer, n in there.items() if n * RARE >= most}
        assert set(counts) == kept
        assert next(iter(counts.values())) == min(there[answer] for answer in kept)
        seen += 1
    assert seen > 6


def test_a_donor_is_another_picture_of_the_same_kind_and_each_is_one_once(folder: Path) -> None:
    chosen = choose_questions(folder)
    assert sorted(chosen.donors) == list(range(len(chosen.questions)))
    alike = 0
    for question, donor in zip(chosen.questions, chosen.donors, strict=True):
        other = chosen.questions[donor]
        assert other.group == question.group
        assert other.image != question.image
        alike += bool(question.candidates) and other.answer == question.answer
    assert alike  # by chance, not by rule


def test_the_same_seed_asks_the_same_and_a_limit_asks_less_of_each(folder: Path) -> None:
    whole = choose_questions(folder, seed=3)
    assert whole == choose_questions(folder, seed=3)
    assert whole.questions != choose_questions(folder, seed=4).questions
    part = choose_questions(folder, limit=100, seed=3)
    # One of each answer at least, however small a group's share is.
    least = len({(q.group, q.answer if q.candidates else "") for q in part.questions})
    assert 60 < len(part.questions) <= 100 + least < len(whole.questions)
    assert set(part.questions) <= set(whole.questions)
    for mine in groups(part.questions):
        if mine[0].candidates:
            assert len(set(Counter(question.answer for question in mine).values())) == 1


def test_what_is_no_folder_of_questions_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"samples\.jsonl cannot be read .*synthesise"):
        choose_questions(tmp_path)
    lines = (folder / "samples.jsonl").read_bytes().splitlines()
    for wrong in (b"{", b"[]", b"{}", lines[0].replace(b'"prompts"', b'"prompt"')):
        (tmp_path / "samples.jsonl").write_bytes(lines[0] + b"\n" + wrong + b"\n")
        with pytest.raises(EvaluationError, match=r"line 2: .*expected a sample"):
            choose_questions(tmp_path)
    (tmp_path / "samples.jsonl").write_bytes(b"")
    with pytest.raises(EvaluationError, match="found no question"):
        choose_questions(tmp_path)
    (tmp_path / "samples.jsonl").write_bytes(lines[0])
    with pytest.raises(EvaluationError, match="no two of a kind have different pictures"):
        choose_questions(tmp_path)
