"""Depth and re-opened elements of HTML in plain Python: what the compiled scan must equal.

Tags are found by regular expressions, open elements are a list, kinds of elements are sets of
names. Names are compared whole; the scan compares long ones by hash. Slow: each tag may walk the
whole list. Source: WHATWG HTML, sections 13.2.4 (parse state), 13.2.5 (tokenization) and 13.2.6
(tree construction).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from kernels.html import names as lists
from kernels.html.nesting import Nesting

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
VOID = {*lists.VOID_ELEMENTS.split(), *lists.OLD_VOID_ELEMENTS.split(), *lists.IGNORED.split()}
RAW_TEXT = set(lists.RAW_TEXT.split())
FORMATTING = set(lists.REOPENED.split())
BLOCKS = set(lists.BLOCKS.split())
IMPLIED = set(lists.IMPLIED.split())
TABLE_PARTS = {"caption": 1, "tbody": 1, "thead": 1, "tfoot": 1, "tr": 2, "td": 3, "th": 3}
"""Parts of a table, and how deep they lie in it."""
CELLS = {"td", "th", "caption"}
FORGETTING = CELLS | {"applet", "marquee", "object", "template"}
BREAKOUTS = set(lists.BREAKOUTS.split())
FOREIGN = {"svg", "math"}
INTEGRATION = {
    *("svg desc", "svg title", "svg foreignobject"),
    *("math mi", "math mo", "math mn", "math ms", "math mtext", "math annotation-xml encoding"),
}
"""Elements of SVG and MathML whose content is HTML again."""
SCOPE_MARKERS = {*lists.SCOPE_MARKERS.split(), *INTEGRATION, "math annotation-xml"}
SPECIAL = {*lists.SPECIAL_ELEMENTS.split(), *INTEGRATION, "math annotation-xml"}
HIDDEN = ""

TOKEN = re.compile(
    r"""
      <!-- (?: -?> | .*? (?: --!?> | \Z ) )             # a comment
    | (?P<data> <! \[cdata\[ )                          # character data, in SVG and MathML
    | < [!?] [^>]* >?                                   # a declaration, or what is read as one
    | </ (?![a-z]) [^>]* >?                             # an end tag without a name
    | < (?P<slash>/?) (?P<name> [a-z] [^\t\n\f\r />]* ) # a tag
    """,
    re.DOTALL | re.VERBOSE,
)
GAP = re.compile(r"[\t\n\f\r /]*")
ATTRIBUTE = re.compile(
    r"""
    (?P<name> [^\t\n\f\r />] [^\t\n\f\r />=]* )
    (?: [\t\n\f\r ]* = [\t\n\f\r ]* (?: "[^"]*"? | '[^']*'? | [^\t\n\f\r >]* ) )?
    """,
    re.VERBOSE,
)
SCRIPT_MARK = re.compile(r"<!(?=--)|-->|</?script(?=[\t\n\f\r />])")


def measure(html: bytes, depth_limit: int) -> Nesting:
    """Measure ``html`` as ``kernels.html.measure`` does: the same arguments, the same counts."""
    text = html.lower().decode("latin-1")  # bytes.lower knows ASCII only, as HTML does
    elements = OpenElements()
    tags = depth = work = reopened = options = at = 0
    while token := TOKEN.search(text, at):
        at, name = token.end(), token["name"]
        if token["data"]:
            capital = html.startswith(b"<![CDATA[", token.start())
            closer = "]]>" if capital and elements.current.is_foreign else ">"
            at = text.find(closer, at) + len(closer)
            if at < len(closer):
                break
        if name is None:
            continue
        tag, at = read_tag(text, at, name)
        tags += 1
        if token["slash"]:
            elements.end_tag(name)
            continue
        work += len(elements.open) + len(tag.attributes) ** 2 // 16
        reopened += elements.left_open.total()
        if name == "option":
            options += 1
            work += options // 4
        foreign = elements.in_foreign(tag)
        elements.start_tag(tag)
        depth = max(depth, len(elements.open) + elements.left_open.total())
        if depth > depth_limit:
            return Nesting(tags, depth, work, reopened, stopped=True)
        if name in RAW_TEXT and not foreign:
            end = find_raw_end(text, at, name)
            if end < 0:
                break
            tags += 1
            _, at = read_tag(text, end + len("</" + name), name)
    return Nesting(tags, depth, work, reopened, stopped=False)


@dataclass(frozen=True)
class Tag:
    """A tag, the names of its attributes, and whether a slash stands before its ``>``."""

    name: str
    attributes: list[str]
    whole: bool


def read_tag(text: str, at: int, name: str) -> tuple[Tag, int]:
    """Read a tag from behind its name.

    Returns also the position behind it: the end of the text if the tag is cut off.
    """
    attributes: list[str] = []
    while True:
        gap = GAP.match(text, at)
        assert gap is not None  # it may be empty
        at = gap.end()
        if text.startswith(">", at):
            return Tag(name, attributes, gap[0].endswith("/")), at + 1
        attribute = ATTRIBUTE.match(text, at)
        if attribute is None:
            return Tag(name, attributes, whole=False), len(text)
        attributes.append(attribute["name"])
        at = attribute.end()


def find_raw_end(text: str, at: int, name: str) -> int:
    """Where the end tag starts of a raw text element whose start tag ends at ``at``, or -1."""
    if name != "script":
        end = re.compile(rf"</{name}(?=[\t\n\f\r />])").search(text, at)
        return end.start() if end else -1
    state = "plain"
    for mark in SCRIPT_MARK.finditer(text, at):
        if mark[0] == "-->":
            state = "plain"
        elif mark[0] == "<!":
            state = "escaped" if state == "plain" else state
        elif mark[0] == "<script":
            state = "double escaped" if state != "plain" else state
        elif state == "double escaped":
            state = "escaped"
        else:
            return mark.start()
    return -1


@dataclass(eq=False)
class Element:
    """An open element, by its name: ``"svg g"`` is a ``g`` of SVG, and all headings are ``"h1"``.

    A hidden one is closed to the rules, and still holds what is open in it. ``left_open_before``:
    how many formatting elements were to be opened again when it was opened.
    """

    name: str
    left_open_before: int = 0

    @property
    def is_foreign(self) -> bool:
        """Whether it is an element of SVG or MathML. No name in a tag holds a space."""
        return " " in self.name


class OpenElements:
    """The stack of open elements, outermost first, and the formatting elements to open again."""

    def __init__(self) -> None:
        self.open: list[Element] = []
        self.left_open: Counter[str] = Counter()

    @property
    def current(self) -> Element:
        """The innermost element that is not hidden; the body, which is none of ours, without."""
        return next((e for e in reversed(self.open) if e.name != HIDDEN), Element("body"))

    def names(self) -> list[str]:
        """The names of open elements, outermost first."""
        return [element.name for element in self.open]

    def innermost_first(self) -> Iterator[tuple[int, str]]:
        """The levels and names of open elements, from the current node outwards."""
        return reversed(list(enumerate(self.names())))

    def find(self, name: str, barriers: set[str]) -> int | None:
        """The level of the innermost ``name``, unless one of ``barriers`` is open in it."""
        for level, other in self.innermost_first():
            if other == name:
                return level
            if other in barriers:
                return None
        return None

    def find_in_scope(self, name: str) -> int | None:
        """The level of the innermost ``name`` that end tags reach."""
        return self.find(name, SCOPE_MARKERS)

    def push(self, name: str) -> None:
        """Open an element in the current one."""
        self.open.append(Element(name, self.left_open.total()))

    def close(self, level: int) -> None:
        """Pop elements until the one at ``level`` has been popped."""
        closed = self.names()[level:]
        del self.open[level:]
        while self.open and self.open[-1].name == HIDDEN:
            self.open.pop()
        # What a cell is to forget outlives an object in it that had no end tag: the list of
        # formatting elements is cleared up to its last marker only, which is the object's.
        if (FORGETTING - CELLS) & set(closed[1:]):
            remembered = closed
        else:
            remembered = list(takewhile(lambda name: name not in FORGETTING, closed))
        self.left_open.update(name for name in remembered[1:] if name in FORMATTING)

    def close_current(self) -> None:
        """Pop the current element."""
        self.close(max(level for level, e in enumerate(self.open) if e is self.current))

    def in_foreign(self, tag: Tag) -> bool:
        """Whether a start tag makes an element of SVG or MathML within another one of these."""
        name = self.current.name
        if tag.name in BREAKOUTS or not self.current.is_foreign:
            return False
        if tag.name == "font" and not {"color", "face", "size"}.isdisjoint(tag.attributes):
            return False
        if name.startswith("math "):
            if tag.name in ("mglyph", "malignmark"):
                return True
            if tag.name == "svg" and name.startswith("math annotation-xml"):
                return False
        return name not in INTEGRATION

    def break_out(self) -> None:
        """Close elements of SVG and MathML up to HTML, or one whose content is HTML."""
        while self.current.is_foreign and self.current.name not in INTEGRATION:
            self.close_current()

    def start_tag(self, tag: Tag) -> None:
        """Close what a start tag closes, then open its element."""
        name = "h1" if tag.name in HEADINGS else tag.name
        foreign = self.in_foreign(tag)
        if not foreign and tag.name not in FOREIGN:
            self.break_out()
            self.start_html(name)
        elif not tag.whole:
            language = self.current.name.split(" ")[0] if foreign else name
            name = f"{language} {tag.name}"
            if name == "math annotation-xml" and "encoding" in tag.attributes:
                name += " encoding"
            self.push(name)

    def start_html(self, name: str) -> None:
        """The start tag of an element of HTML."""
        if name in TABLE_PARTS:
            self.start_table_part(name)
            return
        if name in ("li", "dd", "dt"):
            same = {"li"} if name == "li" else {"dd", "dt"}
            for level, other in self.innermost_first():
                if other in same:
                    self.close(level)
                    break
                if other in SPECIAL - {"address", "div", "p"}:
                    break
        found = self.find_in_scope(name)
        if name == "select" and found is not None:
            self.close(found)
            return
        if name in ("a", "nobr") and not self.forget(name, found):
            if found is not None:
                self.adopt(found)
            elif name == "a":
                for level, other in self.innermost_first():
                    if other in FORGETTING:
                        break
                    if other == "a":
                        self.open[level].name = HIDDEN
        if name == "button" and found is not None:
            self.open[found].name = HIDDEN
        select = self.find_in_scope("select")
        if name == "input" and select is not None:
            self.close(select)
        if name in ("option", "optgroup") and self.current.name == "option":
            self.close_current()
        if name in ("option", "optgroup", "hr") and self.find_in_scope("select") is not None:
            self.hide_implied(IMPLIED - {"optgroup"} if name == "option" else IMPLIED)
        if name in ("rb", "rp", "rt", "rtc") and self.find_in_scope("ruby") is not None:
            self.hide_implied(IMPLIED)
        paragraph = self.find_in_scope("p")
        if name in BLOCKS and paragraph is not None:
            if name == "table":  # without a doctype, the p and what is in it stay open
                self.open[paragraph].name = HIDDEN
            else:
                self.close(paragraph)
        if name in VOID or name in RAW_TEXT:
            return
        if name == "h1" and self.current.name == "h1":
            self.current.name = HIDDEN
        self.push(name)

    def start_table_part(self, name: str) -> None:
        """Close parts that cannot hold this one, and open those that must."""
        table = self.find("table", {"template"})
        if table is None:
            return
        around = 0
        for level in range(table + 1, len(self.open)):
            other = self.open[level].name
            if other == "caption" or TABLE_PARTS.get(other, 0) >= TABLE_PARTS[name]:
                self.close(level)
                break
            around = TABLE_PARTS.get(other, around)
        for between in ("tbody", "tr"):
            if around < TABLE_PARTS[between] < TABLE_PARTS[name]:
                self.push(between)
        self.push(name)

    def hide_implied(self, implied: set[str]) -> None:
        """Hide the current elements whose end tags may be left out."""
        while self.current.name in implied:
            self.current.name = HIDDEN

    def end_tag(self, name: str) -> None:
        """Close what an end tag closes."""
        if self.current.is_foreign and name in ("p", "br"):
            self.break_out()
        elif self.current.is_foreign:
            for level, other in self.innermost_first():
                if other != HIDDEN and " " not in other:
                    break
                if other.split(" ")[1:2] == [name]:
                    self.close(level)
                    return
        name = "h1" if name in HEADINGS else name
        if name in TABLE_PARTS or name == "table":
            found = self.find(name, {"table", "template"})
            if found is not None:
                self.close(found)
        elif name in FORMATTING:
            found = self.find_in_scope(name)
            if not self.forget(name, found) and found is not None:
                self.adopt(found)
        elif name in SPECIAL | BLOCKS:
            found = self.find_in_scope(name)
            if found is None:
                return
            if name == "form":
                self.open[found].name = HIDDEN
                self.close(len(self.open))  # of what is hidden, only that which holds nothing
            elif name != "li" or {"ul", "ol"}.isdisjoint(self.names()[found:]):
                self.close(found)
        else:
            found = self.find(name, SPECIAL | SCOPE_MARKERS)
            if found is not None:
                self.close(found)

    def forget(self, name: str, level: int | None) -> bool:
        """Give up the last formatting element to open again, if it was left open after ``level``.

        Without an open one of that name: if it was left open after the innermost element opened
        that forgets, or a ``select`` or ``table``.
        """
        before = 0
        if level is not None:
            before = self.open[level].left_open_before
        else:
            for element in self.open:
                if element.name in FORGETTING | {"select", "table"}:
                    before = element.left_open_before
        if not self.left_open[name] or self.left_open.total() <= before:
            return False
        self.left_open[name] -= 1
        return True

    def adopt(self, level: int) -> None:
        """The adoption agency, without what it moves: blocks in a formatting element stay open."""
        adopting = self.open[level]
        blocks = [i for i in range(level, len(self.open)) if self.open[i].name in SPECIAL][:8]
        if not blocks:
            self.close(level)
            return
        for start, block in zip([level, *blocks], blocks, strict=False):
            around = self.open[start + 1 : block]
            kept = [element for element in around if element.name in FORMATTING][-3:]
            for element in around:
                if element not in kept:
                    element.name = HIDDEN
        if len(blocks) == 8:
            self.open.insert(blocks[-1] + 1, adopting)
        else:
            inside = self.names()[blocks[-1] + 1 :]
            self.left_open.update(name for name in inside if name in FORMATTING)
            del self.open[blocks[-1] + 1 :]
        del self.open[level]
