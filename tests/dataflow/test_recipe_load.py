"""Recipes: what is filled in, what is refused and how it is said, and lock files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from dataflow.recipe import Problem, RecipeError, load_recipe, lock, locked_packages, versions
from dataflow.sources import Fit
from quality.dialects import PRESETS
from quality.rules import Condition, Rule

GOOD = """\
name: test
seed: 7
sources:
  - {name: web, paths: [pages/*.html], rules: prose, sample: {bytes: 1MiB}}
  - name: code
    kind: stdlib
    clean: []
    priority: 3
rules:
  prose:
    - use: gopher.quality
      without: gopher.stop_words
      override: {gopher.words: {min: 20, max: null}}
      when: {lang.label: [en, de]}
    - {name: license, signal: license, not_in: [unknown]}
    - {name: again, use: mc4.document, when: {lang.label: ja, lang.score: {min: .5}}}
clean: [control, {use: c4.lines, min_words: 2}]
tokenizer: {train: {vocab_size: 4096}}
pack: {seed: 9}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(folder, text))
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    web, code = recipe.sources
    assert (web.name, code.kind, code.priority) == ("web", "stdlib", 3)
    assert web.sample is not None
    assert (web.sample.bytes, web.sample.seed) == (1 << 20, 7)
    assert (recipe.split.seed, recipe.pack.seed) == (7, 9)
    assert recipe.tokenizer.train is not None
    assert recipe.tokenizer.train.seed == 7
    assert [step.use for step in recipe.clean_of("web")] == ["control", "c4.lines"]
    assert recipe.clean_of("code") == ()
    assert recipe.rules_of("code") == ()
    spec = recipe.spec("web")
    assert (spec.paths, spec.base, spec.html) == (("pages/*.html",), str(tmp_path), "resiliparse")


def test_presets_are_expanded(tmp_path: Path) -> None:
    rules = load_recipe(write(tmp_path, GOOD)).rules_of("web")
    language = (Condition("lang.label", "in", ("en", "de")),)
    assert rules[0] == Rule("gopher.words", "gopher.words", min=20, when=language)
    names = [rule.name for rule in rules]
    assert "gopher.stop_words" not in names
    assert len(rules) == len(PRESETS["gopher.quality"]) - 1 + 2
    assert rules[-2] == Rule("license", "license", not_in=("unknown",))
    assert rules[-1] == Rule(
        "again/mc4.long_lines",
        "mc4.long_lines",
        min=3,
        when=(Condition("lang.label", "in", ("ja",)), Condition("lang.score", "min", 0.5)),
    )


def test_lock_is_complete_and_gives_the_recipe_again(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    text = lock(recipe, {"python": "3.11.2", "numba": "0.68"})
    assert text == lock(load_recipe(write(tmp_path, GOOD)), {"numba": "0.68", "python": "3.11.2"})
    assert str(tmp_path) not in text
    assert "use: gopher" not in text
    for spelled_out in ("held_out: 0.01", "threshold: 0.8", "max_html_depth:", "bands: 14"):
        assert spelled_out in text
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    path = elsewhere / "recipe.lock.yaml"
    path.write_text(text, encoding="utf-8")
    again = load_recipe(path, folder=tmp_path)
    assert again == recipe
    assert again.rules_of("web") == recipe.rules_of("web")
    assert again.spec("web") == recipe.spec("web")
    assert lock(again, locked_packages(path)) == text
    assert locked_packages(path) == {"python": "3.11.2", "numba": "0.68"}
    assert locked_packages(tmp_path / "recipe.yaml") == {}


def test_comments_order_and_anchors_do_not_change_a_recipe(tmp_path: Path) -> None:
    text = changed("seed: 7\n", "") + "# a comment\nseed: &s 7\ndedup: {near: {seed: 1}}\n"
    assert load_recipe(write(tmp_path, text)) == load_recipe(write(tmp_path, GOOD))


def test_versions_name_what_shapes_output() -> None:
    found = versions()
    for name in ("python", "pyarrow", "numba", "tokenizers", "resiliparse", "lid.176.ftz"):
        assert found[name]
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "found", "near"),
    [
        ("seed: 7", "sead: 7", 2, "sead", "unknown key 'sead'", "seed"),
        ("priority: 3", "prioritty: 3", 8, "sources[1].prioritty", "unknown key", "priority"),
        ("kind: stdlib", "kind: stdlip", 6, "sources[1].kind", "'stdlip'", "stdlib"),
        ("rules: prose,", "rules: pros,", 4, "sources[0].rules", "unknown rule group", "prose"),
        ("1MiB", "1MiBs", 4, "sources[0].sample.bytes", "'1MiBs'", None),
        ("priority: 3", "priority: '3'", 8, "sources[1].priority", "'3'", None),
        ("priority: 3", "priority: true", 8, "sources[1].priority", "true", None),
        ("name: code", "name: web", 5, "sources[1].name", "a second source 'web'", None),
        ("name: code", "name: ../x", 5, "sources[1].name", "'../x'", None),
        ("use: mc4.document", "use: mc4.dokument", 16, "rules.prose[2].use", "preset",
         "mc4.document"),
        ("signal: license", "signal: licence", 15, "rules.prose[1].signal", "signal", "license"),
        ("not_in: [unknown]", "min: 3", 15, "rules.prose[1].min", "which is text", None),
        ("not_in: [unknown]", "in: [3]", 15, "rules.prose[1].in[0]", "3", None),
        ("not_in: [unknown]", "in: []", 15, "rules.prose[1].in", "an empty list", None),
        ("ja,", "jp,", 16, "rules.prose[2].when['lang.label']", "'jp'", None),
        ("[en, de]", "[en, deu]", 14, "rules.prose[0].when['lang.label'][1]", "'deu'", "eu"),
        ("lang.score: {min: .5}", "lang.score: {min: 50}", 16,
         "rules.prose[2].when['lang.score'].min", "unreachable threshold min 50", None),
        ("lang.score: {min: .5}", "lang.skore: {min: .5}", 16, "rules.prose[2].when['lang.skore']",
         "unknown signal", "lang.score"),
        ("without: gopher.stop_words", "without: [gopher.stopwords]", 12,
         "rules.prose[0].without[0]", "unknown rule", "gopher.stop_words"),
        ("{gopher.words: {min: 20, max: null}}", "{gopher.wordz: {min: 20}}", 13,
         "rules.prose[0].override['gopher.wordz']", "unknown rule", "gopher.words"),
        ("min: 20, max: null", "min: 20, max: 10", 13,
         "rules.prose[0].override['gopher.words']", "min 20 above max 10", None),
        ("min: 20, max: null", "min: -1", 13,
         "rules.prose[0].override['gopher.words'].min", "unreachable threshold min -1", None),
        ("min: 20, max: null", "min: .nan", 13,
         "rules.prose[0].override['gopher.words'].min", "nan", None),
        ("min: 20, max: null", "min: null, max: null", 13,
         "rules.prose[0].override['gopher.words']", "a rule that tests nothing", None),
        ("name: again, ", "name: a b, ", 16, "rules.prose[2].name", "'a b'", None),
        ("min_words: 2", "min_word: 2", 17, "clean[1].min_word", "unknown key", "min_words"),
        ("[control,", "[kontrol,", 17, "clean[0]", "'kontrol'", "control"),
        ("use: c4.lines", "use: control", 17, "clean[1].min_words", "min_words for control", None),
        ("{train: {vocab_size: 4096}}", "{}", 18, "tokenizer", "neither use nor train", None),
        ("{train: {vocab_size: 4096}}", "{use: tok}", 18, "tokenizer.use", "not there", None),
        ("{seed: 9}", "{seed: 9, seed: 9}", 19, "pack.seed", "a duplicate key", None),
        ("{seed: 9}", "9", 19, "pack", "9", None),
        ("priority: 3", "format: jsnl", 8, "sources[1].format", "'jsnl'", "jsonl"),
        ("priority: 3", "optional: true", 8, "sources[1].optional", "kind stdlib", None),
        ("kind: stdlib", "kind: files", 5, "sources[1].paths", "nothing", None),
        ("kind: stdlib", "kind: stdlib\n    paths: x", 7, "sources[1].paths", "paths", None),
        ("priority: 3", "storage: {regio: x}", 8, "sources[1].storage.regio", "regio", "region"),
        ("seed: 7", "dedup: {survivor: 'text.word desc'}", 2, "dedup.survivor", "'text.word'",
         "text.words"),
        ("seed: 7", "dedup: {survivor: [uri]}", 2, "dedup.survivor[0]", "text in", None),
        ("seed: 7", "language: {enabled: false}", 14, "rules.prose[0].when['lang.label']",
         "lang.label", None),
        ("seed: 7", "split: {previous: runs/none}", 2, "split.previous", "runs/none", None),
        ("seed: 7", "split: {held_out: 1}", 2, "split.held_out", "1", None),
        ("seed: 7", "lock: {format: 2}", 2, "lock.format", "2", None),
    ],
)  # fmt: skip
def test_each_problem_is_named(
    tmp_path: Path, old: str, new: str, line: int, key: str, found: str, near: str | None
) -> None:
    here = [p for p in problems(tmp_path, changed(old, new)) if p.key == key]
    assert here, problems(tmp_path, changed(old, new))
    assert (here[0].line, here[0].nearest) == (line, near)
    assert found in here[0].found
    assert here[0].expected
    assert here[0].file.endswith("recipe.yaml")
    assert here[0].column > 0


def test_missing_key(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, changed("tokenizer: {train: {vocab_size: 4096}}\n", ""))
    assert problem.found == "nothing"
    assert "tokenizer" in problem.expected


def test_unused_group_and_second_rule(tmp_path: Path) -> None:
    (unused,) = problems(
        tmp_path, changed("rules:\n", "rules:\n  other: [{signal: text.words, min: 1}]\n")
    )
    assert (unused.key, unused.line) == ("rules.other", 10)
    (second,) = problems(
        tmp_path, changed("name: again, use: mc4.document", "use: gopher.quality")
    )[:1]
    assert "a second rule 'gopher.words'" in second.found


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    text = changed("seed: 7", "sead: 7").replace("signal: license", "signal: licence")
    text = text.replace("name: code", "name: web").replace("vocab_size: 4096", "vocab_size: many")
    found = problems(tmp_path, text)
    assert [p.line for p in found] == [2, 5, 15, 18]
    error = RecipeError(found)
    assert error.render().startswith("The recipe has 4 problems:\n")
    assert "recipe.yaml:2:1: sead: found unknown key 'sead'" in str(error)
    assert "did you mean 'seed'?" in str(error)
    assert json.loads(json.dumps(error.to_json()))["problems"][0]["nearest"] == "seed"


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "a: &a [*a]", "\0", "a: b: c", "null", "sources: 3"]
)
def test_no_recipe_at_all(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


@pytest.mark.parametrize(
    "junk", ["3", "[]", "[3]", "{a: 3}", "null", "text", "[[x]]", "{a: {b: []}}"]
)
@pytest.mark.parametrize(
    "key", ["name", "sources", "rules", "clean", "dedup", "language", "split", "tokenizer", "pack"]
)
def test_any_junk_anywhere_is_a_recipe_error_or_a_recipe(
    tmp_path: Path, key: str, junk: str
) -> None:
    kept = [
        "name: x\n" if key != "name" else "",
        "sources: [{name: a, kind: stdlib}]\n" if key != "sources" else "",
        "tokenizer: {train: {}}\n" if key != "tokenizer" else "",
    ]
    path = write(tmp_path, "".join(kept) + f"{key}: {junk}\n")
    with contextlib.suppress(RecipeError):
        load_recipe(path)


def test_relative_paths_and_uris(tmp_path: Path) -> None:
    (tmp_path / "tok").mkdir()
    recipe = load_recipe(write(tmp_path, changed("{train: {vocab_size: 4096}}", "{use: tok}")))
    assert recipe.tokenizer.use == "tok"
    assert recipe.resolve("tok") == str(tmp_path / "tok")
    assert recipe.resolve("s3://bucket/x") == "s3://bucket/x"
    assert recipe.resolve("/abs") == "/abs"


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_recipe(tmp_path / "none.yaml")


def test_a_fit_needs_conversations_and_a_tokenizer_that_is_there(tmp_path: Path) -> None:
    fitted = """\
name: test
sources:
  - {name: talks, paths: a.json, format: llava, fit: {tokens: 8192}}
  - {name: web, paths: pages/*.html}
tokenizer: {use: words}
"""
    (tmp_path / "words").mkdir()
    recipe = load_recipe(write(tmp_path, fitted))
    spec = recipe.spec("talks")
    assert spec.fit == Fit(8192, "released28", str(tmp_path / "words"))
    assert recipe.spec("web").fit is None
    again = write(tmp_path, lock(recipe, versions()))
    assert load_recipe(again) == recipe
    for old, new, at, found, expected in (
        ("tokens: 8192", "tokens: 0", "fit.tokens", "0", "above 0"),
        ("8192", "8192, tiling: tiny55", "fit.tiling", "'tiny55'", "released28"),
        ("llava", "image-text", "fit", "'image-text'", "conversations only"),
        ("use: words", "train: {vocab_size: 512}", "fit", "tokenizer.train", "tokenizer.use"),
    ):
        (problem,) = problems(tmp_path, fitted.replace(old, new))
        assert problem.key == f"sources[0].{at}"
        assert found in problem.found
        assert expected in problem.expected
