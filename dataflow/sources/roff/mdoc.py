"""The mdoc macros of BSD manual pages."""

from __future__ import annotations

from collections.abc import Iterator

from dataflow.sources.roff.escapes import render
from dataflow.sources.roff.lines import Line
from dataflow.sources.roff.man import common
from dataflow.sources.roff.page import Page

_ENCLOSING = {
    "Aq": ("<", ">"), "Bq": ("[", "]"), "Brq": ("{", "}"), "Dq": ("“", "”"), "Op": ("[", "]"),
    "Pq": ("(", ")"), "Ql": ("‘", "’"), "Qq": ('"', '"'), "Sq": ("‘", "’"),
}  # fmt: skip
_OPENING = {
    "Ao": "<", "Bo": "[", "Bro": "{", "Do": "“", "Oo": "[", "Po": "(", "Qo": '"', "So": "‘",
    "Eo": "", "Xo": "", "Fo": "", "Rs": "",
}  # fmt: skip
_CLOSING = {
    "Ac": ">", "Bc": "]", "Brc": "}", "Dc": "”", "Oc": "]", "Pc": ")", "Qc": '"', "Sc": "’",
    "Ec": "", "Xc": "", "Fc": ")", "Re": "",
}  # fmt: skip
_NAMES = """
Ad An Ar At Bsx Bx Cd Cm Dv Em Er Ev Fa Fx Ft Ic In Li Lk Ms Mt Nm No Nx Ox Pa Sx Sy St Tn Ux Va
Vt %A %B %C %D %I %J %N %O %P %Q %R %T %U %V
"""
_PLAIN = frozenset(_NAMES.split())
_INLINE = _PLAIN | {"Fl", "Fn", "Ns", "Ap", "Pf", "Xr", "Nd"} | set(_ENCLOSING) | set(_OPENING)
_CLOSERS = frozenset(".,:;)]?!|")
_SYSTEMS = {"Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD", "Ux": "UNIX"}


class _Inline:
    """Words of one line, with the spaces mdoc puts between them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[str] = []
        self._glue = True

    def put(self, word: str, glued: bool = False) -> None:
        if self._parts and not (self._glue or glued):
            self._parts.append(" ")
        self._parts.append(word)
        self._glue = word in ("(", "[", "{", "<", "“", "‘") and len(word) == 1

    def glue(self) -> None:
        self._glue = True

    def text(self) -> str:
        return "".join(self._parts)

    def run(self, words: list[str]) -> None:
        """Render a macro line: a macro's name, arguments, macros among them."""
        closers: list[str] = []
        index = 0
        while index < len(words):
            word = words[index]
            index += 1
            if word in _INLINE or word in _CLOSING:
                end = index
                while end < len(words) and words[end] not in _INLINE | set(_CLOSING):
                    end += 1
                index = self._macro(word, words[index:end], closers, index, end)
            else:
                self._word(word)
        for closer in reversed(closers):
            self.put(closer, glued=True)

    def _macro(
        self, name: str, arguments: list[str], closers: list[str], index: int, end: int
    ) -> int:
        if name in _ENCLOSING:
            opening, closing = _ENCLOSING[name]
            self.put(opening)
            self.glue()
            closers.append(closing)
            return index
        if name in _OPENING:
            if _OPENING[name]:
                self.put(_OPENING[name])
                self.glue()
            if name == "Fo":
                self.put("".join(arguments[:1]) + "(")
                self.glue()
                return end
            return index
        if name in _CLOSING:
            self.put(_CLOSING[name], glued=True)
            return index
        if name in ("Ns", "Ap"):
            if name == "Ap":
                self.put("'", glued=True)
            self.glue()
            return index
        trailing: list[str] = []
        while arguments and arguments[-1] in _CLOSERS:
            trailing.insert(0, arguments.pop())
        self._plain_macro(name, arguments)
        for mark in trailing:
            self.put(mark, glued=True)
        return end

    def _plain_macro(self, name: str, arguments: list[str]) -> None:
        if name == "Fl":
            for flag in arguments or [""]:
                self._word("|" if flag == "|" else "-" + flag)
        elif name == "Xr":
            section = f"({arguments[1]})" if len(arguments) > 1 else ""
            self.put("".join(arguments[:1]) + section)
        elif name == "Fn":
            self.put("".join(arguments[:1]) + "(" + ", ".join(arguments[1:]) + ")")
        elif name == "Pf":
            self.put("".join(arguments[:1]))
            self.glue()
            for word in arguments[1:]:
                self._word(word)
        elif name == "Nm" and not arguments:
            self.put(self._name)
        elif name == "Ar" and not arguments:
            self.put("file ...")
        elif name == "Nd":
            self.put("– " + " ".join(arguments))
        elif name == "In":
            self.put("#include <" + "".join(arguments) + ">")
        else:
            for word in ([_SYSTEMS[name]] if name in _SYSTEMS else []) + arguments:
                self._word(word)

    def _word(self, word: str) -> None:
        self.put(word, glued=word in _CLOSERS)


def render_page(page: Page, lines: Iterator[Line]) -> None:
    """Render a page of mdoc macros from behind its ``.Dd``."""
    name = ""
    glued = False
    for line in lines:
        request = line.request
        words = [render(a) for a in line.arguments()] if request else []
        if request == "Dt" and words:
            page.add(words[0] + (f"({words[1]})" if len(words) > 1 else ""))
            page.gap()
        elif request in ("Sh", "Ss"):
            page.heading(" ".join(words), inner=request == "Ss")
        elif request in ("Pp", "Lp"):
            page.gap()
        elif request == "Bl":
            page.end_line()
            page.level += 1
        elif request == "El":
            page.gap()
            page.level -= 1
            page.hanging = False
        elif request == "It":
            page.gap()
            page.hanging = False
            page.add(_inline(name, [*words, *_extended(words, lines)]))
            page.end_line()
            page.hanging = True
        elif request == "Bd":
            page.gap()
            page.filled = not {"-literal", "-unfilled"} & set(words)
        elif request == "Ed":
            page.end_line()
            page.filled = True
        elif request in ("Dl", "D1"):
            page.gap()
            page.add(_inline(name, words))
            page.gap()
        elif request in _INLINE or request in _CLOSING:
            if request == "Nm" and words and not name:
                name = words[0]
            page.add(_inline(name, [request, *words]), joined=glued or request in _CLOSING)
            glued = request in ("Pf",) or words[-1:] == ["Ns"]
            continue
        else:
            common(page, lines, line)
        glued = False


def _extended(words: list[str], lines: Iterator[Line]) -> Iterator[str]:
    """The rest of an item's tag where ``Xo`` carries it over the following lines, to ``Xc``."""
    if "Xo" not in words:
        return
    for line in lines:
        if line.request == "Xc":
            return
        if line.request:
            yield line.request
        yield from (render(a) for a in line.arguments())


def _inline(name: str, words: list[str]) -> str:
    inline = _Inline(name)
    inline.run(words)
    return inline.text()
