from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflow.report.markup import json_block, tag, visible
from dataflow.report.numbers import compact, duration, percent, plain, size
from tests.dataflow.report_fixture import HOSTILE


class Reader(HTMLParser):
    """Collects the tags, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(deadline=None)
@given(st.text())
@example(HOSTILE)
@example("a\r\nb\x00\x1b[31m\u202e\u2066")
def test_any_text_stays_text(text: str) -> None:
    reader = Reader(tag("p", text, title=text))
    assert reader.tags == ["p"]
    assert reader.text == visible(text)
    assert reader.attributes == [("title", visible(text))]


@settings(deadline=None)
@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@example(HOSTILE)
@example({"</script>": "<!--", "\u2028": "]]>"})
def test_json_block_holds_its_data_and_cannot_be_left(data: object) -> None:
    block = json_block("data", data)
    body = block.removeprefix('<script type="application/json" id="data">')
    body = body.removesuffix("</script>")
    assert not set(body) & set("<>&\u2028\u2029")
    assert json.loads(body) == data


@settings(deadline=None)
@given(st.text())
def test_visible_leaves_nothing_that_moves_or_hides_text(text: str) -> None:
    shown = visible(text)
    assert not any((c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0" for c in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )


def test_numbers_read_well() -> None:
    assert [compact(n) for n in (0, 9_999, 12_345, 999_960, 7 * 10**9)] == [
        "0", "9,999", "12.3 k", "1 M", "7 B",
    ]  # fmt: skip
    assert [size(n) for n in (0, 12, 1_500, 52_000_000)] == ["0 B", "12 B", "1.5 kB", "52 MB"]
    assert [percent(*p) for p in ((0, 5), (1, 10_000), (9_999, 10_000), (5, 5), (1, 0))] == [
        "0.0 %", "< 0.1 %", "> 99.9 %", "100 %", "–",
    ]  # fmt: skip
    assert [plain(v) for v in (100_000, 0.12, 1 / 3, 2.0)] == ["100,000", "0.12", "0.3333", "2"]
    assert [duration(s) for s in (0.4212, 3.8, 42, 252, 11_100, 200_000)] == [
        "421 ms", "3.8 s", "42 s", "4 min 12 s", "3 h 05 min", "2.31 days",
    ]  # fmt: skip
