"""YAML with positions: what is read, what is refused, and where a problem is said to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.recipe.problems import nearest
from dataflow.recipe.yaml_tree import MAX_DEPTH, Tree, dotted, dump, parse


def read(text: str) -> Any:
    tree = parse("r.yaml", text.encode())
    assert tree.problems == []
    return tree.data


def refused(content: str | bytes) -> Tree:
    tree = parse("r.yaml", content.encode() if isinstance(content, str) else content)
    assert tree.problems
    return tree


def test_core_schema() -> None:
    assert read(
        "{a: no, b: true, c: 1e-3, d: 0x10, e: 0o17, f: 2020-01-01, g: 1:30, h: ~, i: '1', j: .5}"
    ) == {
        "a": "no",
        "b": True,
        "c": 1e-3,
        "d": 16,
        "e": 15,
        "f": "2020-01-01",
        "g": "1:30",
        "h": None,
        "i": "1",
        "j": 0.5,
    }


def test_keys_are_text() -> None:
    assert read("{no: 1, 2: 3, true: 4}") == {"no": 1, "2": 3, "true": 4}


def test_positions_of_keys_and_values() -> None:
    tree = parse("r.yaml", b"a:\n  - b: 1\n    c:   x\n")
    assert tree.keys["a", 0, "c"] == (3, 5)
    assert tree.values["a", 0, "c"] == (3, 10)
    assert tree.position(("a", 0, "missing")) == (2, 5)
    assert tree.position(("a", 0, "c"), of_key=True) == (3, 5)


def test_anchors_and_merges() -> None:
    assert read("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: [*x, *x]\nw: {<<: [{a: 5}, *x]}") == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 1, "b": 3},
        "z": [{"a": 1, "b": 2}] * 2,
        "w": {"a": 5, "b": 2},
    }


def test_duplicate_key() -> None:
    (problem,) = refused("a:\n  b: 1\n  b: 2\n").problems
    assert (problem.line, problem.column, problem.key) == (3, 3, "a.b")
    assert "line 2" in problem.expected


def test_alias_bomb() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (problem,) = refused("\n".join(lines)).problems
    assert "aliases are unfolded" in problem.found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("&a [*a]", "an alias inside its own anchor"),
        ("a: &a {b: *a}", "an alias inside its own anchor"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !x y", "the tag !x"),
        ("[a]: b", "a key that is a collection"),
        ("a: *b", "undefined alias"),
        ("a: [", "expected the node content"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("<<: 3", "no mapping"),
        ("a: \x01", "U+0001"),
        ("a: " + "9" * 5000, "9999"),
        ("[" * (MAX_DEPTH + 1), "levels"),
        ("[" * 100_000, "levels"),
    ],
)
def test_refused(text: str, found: str) -> None:
    problems = refused(text).problems
    assert any(found in problem.found for problem in problems), problems


def test_not_utf8() -> None:
    (problem,) = refused(b"a: b\nc: \xff\xfe\n").problems
    assert (problem.line, problem.column) == (2, 4)
    assert problem.expected == "UTF-8 text"


def test_byte_order_mark_and_empty() -> None:
    assert parse("r", b"\xef\xbb\xbfa: 1").data == {"a": 1}
    assert parse("r", b"").data is None


def test_too_large() -> None:
    assert "bytes" in refused(b"#" * (2 << 20)).problems[0].found


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(max_size=12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["no", "1e3", "0o7", "0x1F", "~", "<<", "2020-01-01", "1_000", "=", ".5"]),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_dump_is_read_back(value: Any) -> None:
    tree = parse("r.yaml", dump(value).encode("utf-8", "surrogatepass"))
    assert tree.problems == []
    assert tree.data == value
    assert repr(tree.data) == repr(value) or value != value


@given(st.binary(max_size=80))
def test_any_bytes_give_data_or_problems(content: bytes) -> None:
    tree = parse("r.yaml", content)
    assert tree.data is None or not isinstance(tree.data, bytes)


def test_dotted() -> None:
    assert dotted(("sources", 2, "name")) == "sources[2].name"
    assert dotted(("rules", "en", 0, "when", "lang.label")) == "rules.en[0].when['lang.label']"


def test_nearest() -> None:
    assert nearest("fils", ["files", "stdlib"]) == "files"
    assert nearest("Held-Out", ["held_out", "seed"]) == "held_out"
    assert nearest("zzz", ["files"]) is None
