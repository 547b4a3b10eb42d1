"""The scan that bounds the work of an HTML page equals its reference, and no parser goes deeper."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from kernels.html import Nesting, measure, reference
from kernels.html.names import KEYS, pack

DEEP = 10_000
PLAIN = (
    "div p ul ol li dd dt section h1 h2 form button object span label dialog address pre".split()
)
LONG = "blockquote blockquotf x-long-name x-long-namf figcaption".split()  # alike for eight letters
TABLES = "table tr td th caption tbody thead".split()
FORMATTING = "a b i font nobr code".split()
CHOICES = "select option optgroup ruby rt rp rtc".split()
FOREIGN = "svg math desc foreignobject title mi annotation-xml path g mglyph".split()
CHILDLESS = "script style textarea title xmp iframe br img input hr basefont image frame".split()
VALUES = ["", "", "", "", " a", " a=b", " b='<'", ' c=">"', " d=b/", ' ="x"', " color", " Size=1"]
ODD = ["/", " /", "/ ", ' g=\x01"', '\x0bq="', " encoding=x", " a= ", "\0", "é", " a" * 9, "_"]
TEXT = ["<", "</", "<!x", "<?", "<!--", "-->", "--!>", "<!-->", "<!--->", "<!---!>", "</ ", "</>"]
DATA = ["<![CDATA[", "<![cdata[", "]]>", ">", '"', "é", "\0", "x", "<!--<script>", "</script x"]


def soup(
    names: list[str], values: list[str], text: list[str], ends: list[str]
) -> st.SearchStrategy[str]:
    """Random tags of some names, a third of them in capitals, with text between."""
    tag = st.builds(
        lambda slash, name, value, end: f"<{slash}{name}{value}{end}",
        st.sampled_from(["", "", "/"]),
        st.sampled_from([*names, *names, *(name.upper() for name in names)]),
        st.sampled_from(values),
        st.sampled_from(ends),
    )
    return st.lists(tag | tag | tag | st.sampled_from(text), max_size=40).map("".join)


EVERYTHING = soup(
    PLAIN + LONG + 2 * TABLES + 2 * FORMATTING + CHOICES + 2 * FOREIGN + CHILDLESS,
    VALUES + ODD,
    TEXT + DATA,
    [">"] * 30 + [""],
)


@settings(deadline=None, max_examples=600)
@given(EVERYTHING)
def test_tag_soup_is_measured_as_the_reference_says(html: str) -> None:
    data = html.encode("latin-1")
    assert measure(data, DEEP) == reference.measure(data, DEEP)


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="<>/!-=\"' \t\x0babipSVGtdr]?\0é", max_size=120))
def test_any_bytes_are_measured_as_the_reference_says(html: str) -> None:
    data = html.encode("latin-1")
    assert measure(data, DEEP) == reference.measure(data, DEEP)


@settings(deadline=None, max_examples=200)
@given(EVERYTHING, st.integers(0, 12))
def test_the_scan_stops_where_the_reference_does(html: str, limit: int) -> None:
    data = html.encode("latin-1")
    found = measure(data, limit)
    assert found == reference.measure(data, limit)
    assert found.stopped == (found.depth > limit)


@pytest.mark.parametrize(
    ("html", "tags", "depth", "work", "reopened"),
    [
        # Three start tags with 0, 1 and 2 elements open, three end tags.
        ("<div><p><b>x</b></p></div>", 6, 3, 0 + 1 + 2, 0),
        # The second p finds 2 elements open, closes both and leaves b to open again: two are open
        # or to open again, as before. i then finds 1 open, and 1 to open again.
        ("<p><b>x<p>y", 3, 2, 0 + 1 + 2, 0),
        ("<p><b>x<p>y<i>", 4, 3, 0 + 1 + 2 + 1, 1),
        # A cell opens the body and the row around it: table, tbody, tr, td. The next one closes it.
        ("<table><td><td>", 3, 4, 0 + 1 + 4, 0),
        # 16 attributes: 16 * 16 / 16 comparisons. Then four options, each closing the one before:
        # with 0, 1, 2, 2 and 2 open, and 4 / 4 more for the fourth.
        ("<p" + " a" * 16 + ">", 1, 1, 16, 0),
        ("<select>" + 4 * "<option>", 5, 2, 0 + 1 + 2 + 2 + 2 + 1, 0),
        # What looks like tags here is text, a comment or a value: one element and its end tag.
        ("<script><!--<script></script><b>--></script>", 2, 0, 0, 0),
        ("<!--<b>--!><?<b><!b <b></ <b><i a='<b>' b=\"<b>\" c=<b></i>", 2, 1, 0, 0),
        # In svg, a slash makes an element whole, but not at the end of a value; div ends the svg.
        ("<svg><g/><g/>", 3, 1, 0 + 1 + 1, 0),
        ("<svg><g a=b/><g>", 3, 3, 0 + 1 + 2, 0),
        ("<svg><g><div/><div/>", 4, 2, 0 + 1 + 2 + 1, 0),
        # Cut off by the end: counted, and closed by nothing.
        ("<b><b", 2, 2, 1, 0),
    ],
    ids=range(12),
)
def test_counts_worked_out_by_hand(
    html: str, tags: int, depth: int, work: int, reopened: int
) -> None:
    expected = Nesting(tags, depth, work, reopened, stopped=False)
    assert measure(html.encode(), DEEP) == expected
    assert reference.measure(html.encode(), DEEP) == expected


def depth_of(html: str) -> int:
    """Most elements with an attribute ``m`` in each other, as a real parser has it."""
    deepest = 0
    todo: list[tuple[Any, int]] = [(HTMLTree.parse(html).document, 0)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        for child in node.child_nodes:
            marked = child.type == 1 and child.getattr("m") is not None
            todo.append((child, depth + marked))
    return deepest


def mark(html: str) -> str:
    """Give an attribute ``m`` to start tags of elements that can hold others."""

    def marked(match: re.Match[str]) -> str:
        whole = match[0].endswith("/>") or match[1] in CHILDLESS
        return match[0] if whole else f"<{match[1]} m{match[2]}>"

    return re.sub(r"<([a-z][a-z0-9-]*)((?: \w=(?:\w|'<'|\">\"))?(?: ?/)?)>", marked, html)


JUDGED = soup(
    PLAIN + LONG + TABLES + CHOICES + FOREIGN + CHILDLESS,
    ["", "", "", " a=b", " b='<'", ' c=">"', "/"],
    [*TEXT, "<![CDATA[", "]]>", "x"],
    [">"],
)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(JUDGED, st.sampled_from(["", "<!doctype html>"]))
def test_no_parser_goes_deeper(html: str, doctype: str) -> None:
    """Lexbor's depth in elements that have a start tag, formatting aside, is never more."""
    page = mark(doctype + html.lower())
    assert measure(page.encode(), DEEP).depth >= depth_of(page)


@pytest.mark.parametrize(
    ("before", "repeated"),
    [
        ("", "<div_x></div>"),
        ("", "<blockquox></blockquote>"),
        ("", "<div><!--!></div>-->"),
        ("", "<div><?</div>"),
        ("", "<div></ </div>"),
        ("", "<div><style></style_></div></style>"),
        ("", "<div><script><!--<script></script></div></script>"),
        ("", "<basefont><span></basefont>"),
        ("", "<h2><span><h1></h2>"),
        ("", "<h1><h2></h2><span></h1>"),
        ("", "<button><button></button><span></button>"),
        ("", "<p><hr><span></p>"),
        ("", "<p><span><span><span><span><table><td>"),
        ("", "<a><em><a></a><span></em>"),
        ("", "<b><em><div></b></div><span></em>"),
        ("", "<b><em><div><b></div></b></em></div>"),
        ("", "<div><b></div><object></b></object>"),
        ("", "<select><input><span></select>"),
        ("", "<option><optgroup></option>"),
        ("<ruby>", "<rt><rp><span></rt>"),
        ("<table>", "<td></tr><span></td>"),
        ("<svg>", "<g a=/>"),
        ("<svg>", "<div/>"),
        ("<svg><desc>", "<span/>"),
        ("<svg><p>", "<div><style></div></style>"),
        ("", "<svg><![CDATA[></svg>]]>"),
        ("<math>", "<mi><label></mi>"),
    ],
    ids=range(27),
)
def test_no_pattern_nests_unseen(before: str, repeated: str) -> None:
    """End tags that a parser ignores, or takes for text, close nothing here either."""
    html = mark(before + 100 * repeated)
    found = measure(html.encode(), DEEP)
    assert found == reference.measure(html.encode(), DEEP)
    assert found.depth >= depth_of(html)


def test_no_two_names_with_a_meaning_are_taken_for_each_other() -> None:
    known = reference.VOID | reference.RAW_TEXT | reference.FORMATTING | reference.BLOCKS
    known |= {name for name in reference.SPECIAL | reference.SCOPE_MARKERS if " " not in name}
    known |= {*reference.IMPLIED, *reference.BREAKOUTS, *reference.TABLE_PARTS, "svg", "math"}
    assert {pack(name) for name in known} <= {*KEYS.tolist()}
    assert len({pack(name) for name in known}) == len(known)
