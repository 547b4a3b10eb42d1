"""Preference pairs out of synthesised samples: the right answer chosen, a wrong one rejected.

Some pairs are of text alone: the picture is told in words instead, and a question is taken that the
words answer. The form is that of the source format ``preferences``.
"""

from __future__ import annotations

import re
from typing import Any

from vl_data.synthesis.draws import Draws
from vl_data.synthesis.records import image_path, sample_name
from vl_data.synthesis.sample import Sample, Split, Turn
from vl_data.synthesis.texts import IMAGE_TAG
from vl_data.synthesis.things import NUMBERS
from vl_data.synthesis.wrong_answers import RIGHT, wrong_answer

_TOLD = frozenset(("counting", "colours", "geometry", "ocr", "tables", "charts"))
"""Families whose descriptions answer questions; words do not say where things lie."""
_OPEN = frozenset(("question", "instruction", "complete"))


def preference_record(number: int, sample: Sample, split: Split, seed: int) -> dict[str, Any]:
    """The line of a sample's pair; without ``image`` where it is of text alone.

    A question that comes after another one has that one, rightly answered, before it.
    """
    draws = Draws(seed, split, "preference", number)
    turns = [Turn(*said, asked) for said, asked in zip(sample.turns, sample.asked, strict=True)]
    told = [turn for turn in turns if _is_told(turn, sample)]
    alone = draws.coin() and bool(told)
    if alone:
        asked = draws.pick(told)
        prompt: list[dict[str, str]] = [_said("user", f"{sample.description}\n{asked.question}")]
    else:
        place = draws.below(len(turns))
        asked, prompt = turns[place], []
        for turn in turns[:place]:
            prompt += [_said("user", turn.question), _said("assistant", turn.answer)]
        prompt.append(_said("user", asked.question))
        prompt[0]["content"] = f"{IMAGE_TAG}\n{prompt[0]['content']}"
    wrong = wrong_answer(draws, asked)
    record: dict[str, Any] = {
        "id": sample_name(number, sample),
        "image": image_path(number, sample),
        "prompt": prompt,
        "chosen": asked.answer,
        "rejected": wrong.text,
        "chosen_score": RIGHT,
        "rejected_score": wrong.score,
        "family": sample.family,
        "layout": sample.layout,
        "split": split,
        "prompts": [{"kind": asked.asked.kind, "prompt": asked.asked.prompt}],
        "truth": sample.truth,
    }
    if alone:
        del record["image"]
    return record


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _is_told(turn: Turn, sample: Sample) -> bool:
    """Whether the description has the answer to an open question in so many words."""
    if sample.family not in _TOLD or turn.asked.prompt not in _OPEN:
        return False
    answer, description = turn.answer, sample.description
    if answer.isdecimal() and int(answer) < len(NUMBERS):
        return _has(NUMBERS[int(answer)], description) or _has(answer, description)
    return answer not in ("yes", "no") and _has(answer, description)


def _has(words: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None
