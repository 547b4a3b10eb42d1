"""The folder of samples, and the command that makes it."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from PIL import Image

from vl_data.command import main
from vl_data.mix.chat import chat_of
from vl_data.mix.turns import image_refs, turns_of
from vl_data.synthesis.synthesise import Settings, versions
from vl_data.synthesis.write import write_samples

TEXT = [
    {"id": f"doc{i}", "text": f"Some words of document number {i} stand here. " * 8}
    for i in range(5)
]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    settings = Settings(seed=2, size=56)
    documents = [(row["id"], row["text"]) for row in TEXT]
    write_samples(tmp_path / "one", 60, settings, documents, workers=1)
    write_samples(tmp_path / "two", 60, settings, documents, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_folder_is_what_llavas_readers_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.jsonl"
    text.write_bytes(b"\n".join(orjson.dumps(row) for row in TEXT) + b"\n\n")
    out, preview = tmp_path / "out", tmp_path / "sheets" / "preview.png"
    code = main(
        ["synthesise", "--out", str(out), "--count", "20", "--seed", "9", "--size", "112",
         "--text", str(text), "--preview", str(preview), "--preview-count", "7", "--json"]
    )  # fmt: skip
    assert code == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert answer["count"] == 20
    assert answer["documents"] == 5
    assert answer["versions"] == versions()
    rows = [orjson.loads(line) for line in (out / "samples.jsonl").read_bytes().splitlines()]
    assert len({row["id"] for row in rows}) == 20
    for row in rows:
        (ref,) = image_refs(row)
        assert Image.open(out / ref).size == (row["width"], row["height"]) == (112, 112)
        assert len(row["prompts"]) * 2 == len(row["conversations"])
        chat = chat_of(turns_of(row), 1)
        data = chat.text.encode()
        said = [data[start:end].decode() for start, end in chat.loss]
        answers = [turn["value"] for turn in row["conversations"] if turn["from"] == "gpt"]
        assert said == [f"{answer}<|turn_end|>" for answer in answers]
    sheet = Image.open(io.BytesIO(preview.read_bytes()))
    assert sheet.width > sheet.height / 2
    card = orjson.loads((out / "synthesis.json").read_bytes())
    assert sum(card["families"].values()) == 20
    assert not list(out.glob("*.part"))


def test_a_folder_with_samples_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["synthesise", "--out", str(tmp_path), "--count", "2", "--size", "56"]
    assert main(order) == 0
    before = contents(tmp_path)
    assert main([*order, "--seed", "1"]) == 2
    assert "found samples, expected a folder without any" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "line 2: .*expected a JSON object"),
        ('{"id": 3}', "line 2, field `text`: found NoneType, expected a string"),
        ("[1]", "line 2, field `text`"),
    ],
)
def test_a_wrong_line_of_text_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text('{"id": "a", "text": "fine"}\n' + line + "\n")
    code = main(["synthesise", "--out", str(tmp_path / "out"), "--text", str(text)])
    assert code == 2
    import re

    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_wrong_orders_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["synthesise", "--out", out, "--count", "0"]) == 2
    assert "count: found 0" in capsys.readouterr().err
    assert main(["synthesise", "--out", out, "--families", "chart", "--json"]) == 2
    answer = orjson.loads(capsys.readouterr().out)
    assert not answer["ok"]
    assert "found 'chart'" in answer["error"]
    assert main(["synthesise", "--out", out, "--text", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: No such file" in capsys.readouterr().err
