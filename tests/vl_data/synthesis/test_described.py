"""Instructions that end with the picture put into words."""

from __future__ import annotations

from collections import Counter

from vl_data.synthesis.described import background_of, described_record
from vl_data.synthesis.records import record_of
from vl_data.synthesis.synthesise import Settings, synthesise
from vl_data.synthesis.texts import TextPool


def test_each_picture_has_its_questions_its_background_and_its_description() -> None:
    settings = Settings(seed=4, size=112, families=("colours", "counting", "ocr"))
    texts, firsts = TextPool([]), Counter[str]()
    for number in range(60):
        sample = synthesise(number, settings, texts)
        record = described_record(number, sample, "train", settings.seed)
        assert record == described_record(number, sample, "train", settings.seed)
        said = [turn["value"] for turn in record["conversations"]]
        kinds = [prompt["kind"] for prompt in record["prompts"]]
        assert len(said) == 2 * len(kinds)
        assert [text.startswith("<image>\n") for text in said] == [True] + [False] * (len(said) - 1)
        assert (kinds[-1], said[-1]) == ("describe", sample.description)
        answers = dict(zip(kinds, said[1::2], strict=True))
        background = background_of(sample)
        assert (background is None) == (sample.family == "ocr")
        assert answers.get("background") == background
        if background is not None:
            assert f"On a {background} background" in sample.description
        # The sample's own questions are all there, and nothing else has changed.
        plain = record_of(number, sample, "train")
        own = {turn["value"].removeprefix("<image>\n") for turn in plain["conversations"]}
        assert own <= {text.removeprefix("<image>\n") for text in said}
        changed = {"conversations", "prompts"}
        assert {k: v for k, v in record.items() if k not in changed} == {
            k: v for k, v in plain.items() if k not in changed
        }
        firsts[kinds[0] if kinds[0] == "background" else "own"] += 1
    assert min(firsts.values()) > 5
