"""The set of documents that ask for a high score."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from quality.reward.injections import INJECTIONS, InjectionsError, load_injections


def test_the_set_is_varied_and_none_deserves_much() -> None:
    found = load_injections()
    assert len(found) >= 60
    assert len({one.text for one in found}) == len(found)
    assert len({one.language for one in found}) >= 10
    assert len({one.technique for one in found}) >= 20
    assert {one.at_most for one in found} == {0, 1, 2}
    assert Counter(one.language for one in found)["en"] < 0.7 * len(found)
    assert any("<|im_start|>" in one.text for one in found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"at_most": 6}, "at_most: found 6"),
        ({"at_most": True}, "at_most: found True"),
        ({"text": ""}, "text: found ''"),
        ({"more": 1}, "expected technique, language, at_most and text"),
    ],
)
def test_a_line_that_is_none_is_told(tmp_path: Path, change: dict[str, object], words: str) -> None:
    row = orjson.loads(INJECTIONS.read_bytes().splitlines()[0])
    path = tmp_path / "set.jsonl"
    path.write_bytes(INJECTIONS.read_bytes().splitlines()[1] + b"\n" + orjson.dumps(row | change))
    with pytest.raises(InjectionsError, match=f"line 2: .*{words}"):
        load_injections(path)
