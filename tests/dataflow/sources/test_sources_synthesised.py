"""Documents that the build makes: as if read from a folder of samples, whatever the partitions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflow import code
from dataflow.recipe import RecipeError, load_recipe, lock, plan_recipe
from dataflow.sources import (
    PlanError,
    Record,
    SourceError,
    SourceSpec,
    Synthesis,
    plan,
    read,
)
from dataflow.sources.synthesised import settings
from dataflow.sources.synthesised.forms import FORMS
from dataflow.sources.synthesised.read import FIELDS
from vl_data.limits import ANY_SIZE
from vl_data.synthesis.synthesise import Settings
from vl_data.synthesis.write import write_samples

Reader = Callable[..., Any]
COUNT = 9
FAMILIES = ("colours", "counting", "ocr")
MADE = Synthesis("instructions", COUNT, size=112, families=FAMILIES)
SPEC = SourceSpec("made", kind="synthesised", synthesis=MADE, seed=5)
PICTURE = 112 * 112 * 3


@pytest.mark.parametrize(
    ("form", "format_name"), [("instructions", "llava"), ("descriptions", "image-text")]
)
def test_documents_are_those_of_a_folder_of_samples(
    tmp_path: Path, read_all: Reader, form: str, format_name: str
) -> None:
    write_samples(tmp_path, COUNT, Settings(seed=5, size=112, families=FAMILIES))
    found = read_all(
        format=format_name, include=("samples.jsonl",), fields=FIELDS, images=ANY_SIZE
    ).records  # fmt: skip
    made = read_all(kind="synthesised", synthesis=replace(MADE, form=form), seed=5).records
    assert [record.offset for record in made] == list(range(COUNT))
    assert {record.uri for record in made} == {f"synthesised:{form}"}
    for one, other in zip(made, found, strict=True):
        assert replace(one, uri=other.uri, offset=other.offset) == other


@pytest.mark.parametrize("form", FORMS)
def test_no_form_hangs_on_how_the_numbers_are_cut(read_all: Reader, form: str) -> None:
    asked = {"kind": "synthesised", "synthesis": replace(MADE, form=form), "seed": 5}
    whole = read_all(**asked)
    cut = read_all(4 * PICTURE, **asked)
    assert (len(whole.partitions), len(cut.partitions)) == (1, 3)
    assert [partition.bytes for partition in cut.partitions] == [4 * PICTURE, 4 * PICTURE, PICTURE]
    assert whole.refused == []
    assert len(whole.all) == COUNT
    assert whole.all == cut.all


def test_more_of_them_leave_the_first_as_they_are() -> None:
    few, many = (
        plan(replace(SPEC, synthesis=replace(MADE, count=count)), 4 * PICTURE) for count in (8, 12)
    )
    assert [p.fingerprint for p in few] == [p.fingerprint for p in many[:2]]
    for other in (
        replace(SPEC, seed=6),
        replace(SPEC, synthesis=replace(MADE, size=120)),
        replace(SPEC, synthesis=replace(MADE, families=("colours",))),
        replace(SPEC, synthesis=replace(MADE, split="heldout")),
        replace(SPEC, synthesis=replace(MADE, form="descriptions")),
    ):
        assert plan(other, 4 * PICTURE)[0].fingerprint != few[0].fingerprint


def test_words_of_a_file_are_drawn(tmp_path: Path) -> None:
    lines = [f'{{"id": "{i}", "text": "{"quagga " * 30}"}}' for i in range(2)]
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    asked = replace(MADE, form="descriptions", families=("ocr",), text="words.jsonl")
    spec = replace(SPEC, synthesis=asked, base=str(tmp_path))
    (partition,) = plan(spec, 1 << 30)
    texts = [outcome.text for outcome in read(spec, partition) if isinstance(outcome, Record)]
    assert len(texts) == COUNT
    assert all("quagga" in text for text in texts)
    (tmp_path / "words.jsonl").write_text(lines[0].replace("quagga", "ocelot"))
    with pytest.raises(SourceError, match="another file of words"):
        next(read(spec, partition))
    assert plan(spec, 1 << 30)[0].fingerprint != partition.fingerprint
    (tmp_path / "words.jsonl").write_text('{"id": 1}')
    with pytest.raises(PlanError, match=r"text: found .*words.jsonl, line 1, .*expected a string"):
        plan(spec, 1 << 30)


def test_other_code_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = {str(p.relative_to(code.ROOT)) for p in code.reached(f"{code.DRAWING}synthesise")}
    assert {"vl_data/synthesis/counting.py", "vl_data/synthesis/charts/pies.py"} <= drawing
    before = plan(SPEC, 1 << 30)[0].fingerprint
    for module in ("forms", "synthesise"):
        with monkeypatch.context() as patched:
            patched.setattr(
                settings, "code_digest", lambda name, at=module: str(name.endswith(at))
            )  # fmt: skip
            assert plan(SPEC, 1 << 30)[0].fingerprint != before
    assert plan(SPEC, 1 << 30)[0].fingerprint == before


def test_other_layouts_for_other_splits() -> None:
    def layouts(spec: SourceSpec) -> set[str]:
        (partition,) = plan(spec, 1 << 30)
        found = [outcome for outcome in read(spec, partition) if isinstance(outcome, Record)]
        return {(record.metadata or {})["layout"] for record in found}

    heldout = replace(SPEC, synthesis=replace(MADE, split="heldout"))
    assert not layouts(SPEC) & layouts(heldout)


RECIPE = """\
name: made
sources:
  - name: pictures
    kind: synthesised
    synthesis: {form: instructions, count: 4, size: 112, families: [colours]}
tokenizer: {train: {}}
"""


def _written(tmp_path: Path, old: str = "", new: str = "") -> Path:
    assert old in RECIPE
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new))
    return path


def test_a_recipe_and_its_lock_say_the_same(tmp_path: Path) -> None:
    recipe, plans = plan_recipe(_written(tmp_path))
    assert recipe.spec("pictures").synthesis == Synthesis("instructions", 4, 112, ("colours",))
    assert [item.end for partition in plans["pictures"] for item in partition.items] == [4]
    (tmp_path / "recipe.lock.yaml").write_text(lock(recipe, {}))
    assert load_recipe(tmp_path / "recipe.lock.yaml") == recipe


_HERE = "sources[0].synthesis"


@pytest.mark.parametrize(
    ("old", "new", "key", "found", "expected", "near"),
    [
        ("instructions", "instruction", f"{_HERE}.form", "unknown form", "descriptions",
         "instructions"),
        ("[colours]", "colors", f"{_HERE}.families", "'colors'", "some of counting", None),
        ("[colours]", "[colours, colours]", f"{_HERE}.families", "twice", "once", None),
        ("size: 112, families: [colours]", "size: 60, families: [tables]", f"{_HERE}.size",
         "60 pixels", "at least 112", None),
        ("size: 112", "size: 55", f"{_HERE}.size", "55", "56 to 1344", None),
        ("size: 112", "size: 112, aspects: mixd", f"{_HERE}.aspects", "'mixd'", "mixed", "mixed"),
        ("count: 4", "count: 0", f"{_HERE}.count", "0", "above 0", None),
        ("count: 4", "number: 4", f"{_HERE}.number", "unknown key", "count", None),
        ("count: 4", "count: 4, text: no.jsonl", f"{_HERE}.text", "no.jsonl: No such file",
         "JSON lines", None),
        ("count: 4, ", "", f"{_HERE}.count", "nothing", "count", None),
        ("    synthesis: {form: instructions, count: 4, size: 112, families: [colours]}\n", "",
         _HERE, "nothing", "synthesis", None),
        ("kind: synthesised", "kind: stdlib", _HERE, "synthesis", "no synthesis", None),
        ("kind: synthesised", "kind: synthesised\n    format: llava", "sources[0].format", "format",
         "reads no files", None),
        ("kind: synthesised", "kind: synthesised\n    images: {min_side: 56}", "sources[0].images",
         "images", "reads no files", None),
        ("kind: synthesised", "kind: synthesised\n    paths: x", "sources[0].paths", "paths",
         "has no paths", None),
        ("kind: synthesised", "kind: synthesised\n    optional: true", "sources[0].optional",
         "kind synthesised", "files only", None),
    ],
)  # fmt: skip
def test_each_problem_of_a_recipe_is_named(
    tmp_path: Path, old: str, new: str, key: str, found: str, expected: str, near: str | None
) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_recipe(_written(tmp_path, old, new))
    problem = next(p for p in caught.value.problems if p.key == key)
    assert found in problem.found
    assert expected in problem.expected
    assert problem.nearest == near
    assert problem.line >= 3


def test_a_spec_that_cannot_be_made_is_refused() -> None:
    for spec, text in (
        (replace(SPEC, synthesis=None), "found no `synthesis`"),
        (replace(SPEC, synthesis=replace(MADE, form="instruction")), "did you mean 'instructions'"),
        (replace(SPEC, synthesis=replace(MADE, count=0)), "count: found 0"),
        (replace(SPEC, synthesis=replace(MADE, size=5000)), "size: found 5000"),
    ):
        with pytest.raises(PlanError, match=text):
            plan(spec, 1 << 20)


_WITHOUT = """\
import sys
sys.modules["matplotlib"] = None  # as where it is not installed
from dataflow.__main__ import main
sys.exit(main(["check", sys.argv[1]]))
"""


def test_a_machine_without_matplotlib_is_told_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, str(_written(tmp_path))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    said = "recipe.yaml:5:16: sources[0].synthesis: found no matplotlib, expected it"
    assert said in done.stderr
    assert "pip install 'leyden[synthesis]'" in done.stderr
