"""Checks that need more than one value of a recipe: names that refer to names, columns, ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dataflow.recipe.expressions import ExpressionError, parse_term
from dataflow.recipe.models import RuleEntry, Tests
from dataflow.recipe.presets import PRESETS
from dataflow.recipe.problems import nearest, one_of, shown
from dataflow.recipe.source_models import CleanStep, Source
from dataflow.recipe.yaml_tree import Path, Tree
from dataflow.signals import SIGNALS
from dataflow.sources.formats import FORMATS
from dataflow.sources.synthesised.forms import FORMS
from quality.language import CODES
from quality.rules import Condition, Rule, RuleError
from quality.signals import Producer
from vl_data.tiling import TILINGS

COLUMNS: dict[str, pa.DataType] = {
    **{name: signal.type for name, signal in SIGNALS.items()},
    "offset": pa.int64(),
}
"""What rules, conditions and survivor expressions may name, with its type."""

_LANGUAGES = ("lang.label", "caption.lang")

SECTIONS: dict[Producer, str] = {"reward": "reward", "image_reward": "image_reward"}
"""The section of a recipe by which a producer measures at all."""

_NOT_PLAIN = ("image-text", "llava", "pdf-pages", "preferences")
"""Formats whose documents have images or spans, which damage would tear from their places."""

_STORAGE = ("endpoint_url", "region", "anonymous")
_NEEDS = {"files": "paths", "distributions": "distributions", "synthesised": "synthesis"}
_OF_SYNTHESISED = frozenset(
    ("name", "kind", "synthesis", "license", "seed", "priority", "max_bad_fraction", "rules",
     "clean", "paths", "distributions", "optional")
)  # fmt: skip
"""What a synthesised source may say, or is told by its kind that it may not. All else says how
files are read, of which it has none."""


def check_sources(tree: Tree, sources: dict[int, Source], groups: dict[str, Any]) -> None:
    """Names are unique, each kind has what it needs, groups exist, and each group is used."""
    if not isinstance(tree.data.get("sources"), list):
        return
    _check_unique(tree)
    for i, source in sources.items():
        path: Path = ("sources", i)
        for kind, key in _NEEDS.items():
            given = getattr(source, key)
            if source.kind == kind and not given:
                tree.problem((*path, key), "nothing", f"{key}, which kind {kind} reads")
            elif source.kind != kind and given:
                tree.problem(
                    (*path, key), key, f"none: kind {source.kind} has no {key}", of_key=True
                )
        if source.kind == "synthesised":
            _check_synthesised(tree, path, source)
        if source.captions is not None and source.format != "image-text":
            found = f"format {source.format}"
            tree.problem((*path, "captions"), found, "it for format image-text only", of_key=True)
        pictured = source.format in _NOT_PLAIN or source.extract.html == "interleaved"
        if source.damage is not None and pictured:
            found = f"format {source.format}, extract.html {source.extract.html}"
            tree.problem((*path, "damage"), found, "it for plain text only", of_key=True)
        if source.fit is not None:
            _check_fit(tree, (*path, "fit"), source, source.fit.tiling)
        if source.optional and source.kind != "files":
            tree.problem((*path, "optional"), f"kind {source.kind}", "it for kind files only")
        formats = ("auto", *FORMATS)
        if source.format not in formats:
            found = f"unknown format {source.format!r}"
            near = nearest(source.format, formats)
            tree.problem((*path, "format"), found, one_of(formats), near)
        if source.rules is not None and source.rules not in groups:
            names = sorted(groups)
            tree.problem(
                (*path, "rules"),
                f"unknown rule group {source.rules!r}",
                one_of(names) if names else "a group under `rules` (there is none)",
                nearest(source.rules, names),
            )
        for key in source.storage:
            if key not in _STORAGE:
                at = (*path, "storage", key)
                found = f"unknown key {key!r}"
                tree.problem(at, found, one_of(_STORAGE), nearest(key, _STORAGE), of_key=True)
        check_clean(tree, (*path, "clean"), dict(enumerate(source.clean or [])))
    used = {source.rules for source in sources.values()}
    for name in groups:
        if name not in used and len(sources) == len(tree.data.get("sources", ())):
            tree.problem(
                ("rules", name), "a group that no source uses", "a source with it", of_key=True
            )


def _check_synthesised(tree: Tree, path: Path, source: Source) -> None:
    """The form exists, and nothing says how to read files; a lock file spells the defaults."""
    for key in sorted(Source.model_fields.keys() - _OF_SYNTHESISED):
        if getattr(source, key) != Source.model_fields[key].default:
            tree.problem((*path, key), key, "none: kind synthesised reads no files", of_key=True)
    if source.synthesis is not None and source.synthesis.form not in FORMS:
        form = source.synthesis.form
        at = (*path, "synthesis", "form")
        tree.problem(at, f"unknown form {form!r}", one_of(list(FORMS)), nearest(form, FORMS))


def _check_fit(tree: Tree, path: Path, source: Source, tiling: str) -> None:
    """There are conversations to fit, and a tokenizer that counts them while they are read."""
    form = source.synthesis.form if source.synthesis is not None else source.format
    if form not in ("llava", "instructions"):
        tree.problem(path, f"{form!r}", "it for conversations only (format llava)", of_key=True)
    if tiling not in TILINGS:
        found = f"unknown tiling {tiling!r}"
        tree.problem((*path, "tiling"), found, one_of(list(TILINGS)), nearest(tiling, TILINGS))
    tokenizer = tree.data.get("tokenizer")
    if isinstance(tokenizer, dict) and tokenizer.get("train") is not None:
        expected = "tokenizer.use: while reading, one that is trained later cannot count"
        tree.problem(path, "tokenizer.train", expected, of_key=True)


def _check_unique(tree: Tree) -> None:
    lines: dict[str, int] = {}
    for i, source in enumerate(tree.data["sources"]):
        name = source.get("name") if isinstance(source, dict) else None
        if not isinstance(name, str):
            continue
        path = ("sources", i, "name")
        if name in lines:
            expected = f"a name that is not taken (it is, on line {lines[name]})"
            tree.problem(path, f"a second source {name!r}", expected)
        lines.setdefault(name, tree.position(path).line)


def check_clean(tree: Tree, path: Path, steps: dict[int, CleanStep]) -> None:
    """Options stand only beside the edit that has them, and no edit stands twice."""
    for i, step in steps.items():
        options = step.model_fields_set - {"use"}
        if step.use != "c4.lines":
            for key in sorted(options):
                found = f"{key} for {step.use}"
                tree.problem((*path, i, key), found, "no options", of_key=True)
        if step.use in {other.use for j, other in steps.items() if j < i}:
            tree.problem((*path, i), f"{step.use} again", "each edit once")


def check_survivor(tree: Tree, terms: list[str]) -> None:
    """Each term is an expression over columns that exist."""
    as_list = isinstance(tree.data.get("dedup", {}).get("survivor"), list)
    for i, text in enumerate(terms):
        path: Path = ("dedup", "survivor", i) if as_list else ("dedup", "survivor")
        try:
            columns = parse_term(text, COLUMNS).columns
        except ExpressionError as error:
            tree.problem(path, error.found, error.expected, error.nearest)
            continue
        for name in columns:
            asked_for(tree, path, name, of_key=False)


def expand_group(
    tree: Tree, path: Path, entries: dict[int, RuleEntry], language: bool
) -> list[Rule]:
    """The rules of a group with its presets spelled out; what is wrong goes into ``tree``."""
    rules: list[Rule] = []
    taken: set[str] = set()
    for i, entry in entries.items():
        at = (*path, i)
        when = tuple(_conditions(tree, at, entry, language))
        for rule_path, rule in _entry_rules(tree, at, entry, when):
            _check_rule(tree, rule_path, rule, language)
            if rule.name in taken:
                tree.problem(
                    rule_path,
                    f"a second rule {rule.name!r} in the group",
                    "another `name` (with `use`, a `name` is put before its rules' names)",
                )
            taken.add(rule.name)
            rules.append(rule)
    return rules


def _entry_rules(
    tree: Tree, at: Path, entry: RuleEntry, when: tuple[Condition, ...]
) -> Iterator[tuple[Path, Rule]]:
    given = entry.model_fields_set
    if entry.use is None:
        for key in sorted(given & {"without", "override"}):
            tree.problem((*at, key), key, "it only beside `use`", of_key=True)
        if entry.signal is None:
            tree.problem(at, "neither `use` nor `signal`", "one of them")
            return
        name = entry.name or entry.signal
        rule = _rule(tree, at, name, entry.signal, entry, when)
        if rule is not None:
            yield at, rule
        return
    for key in sorted(given & {"signal", "min", "max", "in_", "not_in"}):
        key = key.rstrip("_")
        tree.problem((*at, key), f"{key} beside `use`", "it under `override`", of_key=True)
    preset = PRESETS.get(entry.use)
    if preset is None:
        found = f"unknown preset {entry.use!r}"
        tree.problem((*at, "use"), found, one_of(sorted(PRESETS)), nearest(entry.use, PRESETS))
        return
    names = [rule.name for rule in preset]
    as_list = isinstance(_raw(tree, at).get("without"), list)
    for j, name in enumerate(entry.without):
        if name not in names:
            path = (*at, "without", j) if as_list else (*at, "without")
            tree.problem(path, f"unknown rule {name!r}", one_of(names), nearest(name, names))
    for name in entry.override:
        if name not in names:
            found = f"unknown rule {name!r}"
            path = (*at, "override", name)
            tree.problem(path, found, one_of(names), nearest(name, names), of_key=True)
        elif name in entry.without:
            tree.problem(
                (*at, "override", name), "a rule left out", "one that is kept", of_key=True
            )
    prefix = f"{entry.name}/" if entry.name is not None else ""
    for base in preset:
        if base.name in entry.without:
            continue
        change = entry.override.get(base.name)
        path = at if change is None else (*at, "override", base.name)
        rule = _rule(tree, path, prefix + base.name, base.signal, change, when, base)
        if rule is not None:
            yield path, rule


def _rule(
    tree: Tree,
    at: Path,
    name: str,
    signal: str,
    tests: Tests | None,
    when: tuple[Condition, ...],
    base: Rule | None = None,
) -> Rule | None:
    values: dict[str, Any] = {}
    for key in ("min", "max", "in_", "not_in"):
        value = getattr(base, key, None)
        if tests is not None and key in tests.model_fields_set:
            value = getattr(tests, key)
        values[key] = tuple(value) if isinstance(value, (list, tuple)) else value
    try:
        return Rule(name, signal, when=(*(base.when if base is not None else ()), *when), **values)
    except RuleError as error:
        found, _, expected = str(error).partition(": ")[2].partition(", expected ")
        if not expected:
            found, expected = found.removeprefix("found "), "min <= max"
            if found.startswith("expected "):
                found, expected = "a rule that tests nothing", found.removeprefix("expected ")
        tree.problem(at, found.removeprefix("found "), expected)
        return None


def _conditions(tree: Tree, at: Path, entry: RuleEntry, language: bool) -> Iterator[Condition]:
    for column, tests in entry.when.items():
        path = (*at, "when", column)
        if not _known_column(tree, path, column, language, of_key=True):
            continue
        rule = _rule(tree, path, column, column, tests, ())
        if rule is None:
            continue
        _check_rule(tree, path, rule, language)
        for op, value in (
            ("min", rule.min),
            ("max", rule.max),
            ("in", rule.in_),
            ("not_in", rule.not_in),
        ):
            if value is not None:
                yield Condition(column, op, value)  # type: ignore[arg-type]


def _known_column(tree: Tree, path: Path, name: str, language: bool, of_key: bool) -> bool:
    if name not in COLUMNS:
        found = f"unknown signal {name!r}"
        expected = "a signal (`python -m quality signals` lists them)"
        tree.problem(path, found, expected, nearest(name, COLUMNS), of_key)
        return False
    if not asked_for(tree, path, name, of_key):
        return False
    if name.startswith("lang.") and not language:
        tree.problem(
            path, name, "no language signal where `language.enabled` is false", None, of_key
        )
        return False
    return True


def asked_for(tree: Tree, path: Path, name: str, of_key: bool) -> bool:
    """Whether the recipe has the section that a signal is measured by, where it hangs on one."""
    signal = SIGNALS.get(name)
    section = None if signal is None else SECTIONS.get(signal.producer)
    if section is None or tree.data.get(section) is not None:
        return True
    tree.problem(path, name, f"it only where the recipe has `{section}`", None, of_key)
    return False


def _check_rule(tree: Tree, at: Path, rule: Rule, language: bool) -> None:
    """The signal exists, and its values can reach every threshold and every listed value."""
    own = "when" not in at
    if own and not _known_column(tree, _deepest(tree, at, "signal"), rule.signal, language, False):
        return
    kind = COLUMNS[rule.signal]
    is_text = pa.types.is_string(kind)
    signal = SIGNALS.get(rule.signal)
    low, high = (signal.minimum, signal.maximum) if signal is not None else (0, None)
    for key, bound in (("min", rule.min), ("max", rule.max)):
        if bound is None:
            continue
        path = _deepest(tree, at, key)
        if is_text:
            tree.problem(path, f"{key} {bound:g} for {rule.signal}, which is text", "in or not_in")
        elif (low is not None and bound < low) or (high is not None and bound > high):
            span = (
                f"[{'-∞' if low is None else f'{low:g}'}, {'∞' if high is None else f'{high:g}'}]"
            )
            found = f"the unreachable threshold {key} {bound:g}"
            tree.problem(path, found, f"a value in {span}, the range of {rule.signal}")
    for key, values in (("in", rule.in_), ("not_in", rule.not_in)):
        for j, value in enumerate(values or ()):
            path = _deepest(tree, at, key, j)
            if isinstance(value, str) != is_text:
                expected = "text" if is_text else "a number"
                tree.problem(path, shown(value), f"{expected}, as {rule.signal} is")
            elif rule.signal in _LANGUAGES and value not in CODES:
                near = nearest(str(value), CODES)
                tree.problem(path, f"unknown language {value!r}", "a code of lid.176", near)
    if rule.in_ is not None and not rule.in_:
        tree.problem(_deepest(tree, at, "in"), "an empty list", "values that pass")


def _deepest(tree: Tree, at: Path, *keys: str | int) -> Path:
    """``at`` with as many of ``keys`` as stand in the file."""
    for key in keys:
        if (*at, key) in tree.values:
            at = (*at, key)
    return at


def _raw(tree: Tree, path: Path) -> Any:
    value = tree.data
    for key in path:
        value = value[key]
    return value
